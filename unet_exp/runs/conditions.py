"""What the numbers of a training depend on beside its config."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from unet_exp.errors import ConfigError, DataError

PRECISIONS = {"32": "float32", "bf16-mixed": "bfloat16 mixed with float32", "16-mixed": "float16 mixed with float32"}
"""What the words of `trainer.precision` mean."""
_CHANGED = " with changes that were not committed"


class PlainRecord(BaseModel):
    """Plain values of exactly these types; unknown keys, of later versions, are ignored."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class GitState(PlainRecord):
    """Commit of the code, and whether the code has uncommitted changes."""

    commit: str
    changed: bool = False


Layout = Literal["channels_last", "contiguous"]


class Layouts(PlainRecord):
    """The memory layout of images and feature maps in each phase; it changes the rounding."""

    training: Layout
    prediction: Layout


class Conditions(PlainRecord):
    """What the numbers of a training depend on beside its config. None: not recorded, as in earlier versions.

    Attributes:
        data_fingerprint: sha256 of its images and labels.
        metrics_version: version of the scores' definitions.
        processes: how many share the work.
        threads: of PyTorch in each process: they split sums, and so change the rounding.
        layouts: of the memory.
        augmented_on: `cpu` or `gpu`: where patches are augmented, which changes the rounding.
        init_from_sha256: of the file that its weights start from, a checkpoint or pretrained; None if there is none.
        git: of the code; None outside a checkout.
        versions: of Python and of packages.
    """

    data_fingerprint: str | None = None
    metrics_version: int | None = None
    device: str | None = None
    precision: str | None = None
    processes: int | None = None
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    layouts: Layouts | None = None
    augmented_on: str | None = None
    init_from_sha256: str | None = None
    git: GitState | None = None
    versions: dict[str, str] | None = None

    def list_changes(self, now: "Conditions") -> Iterator[str]:
        """What differs now and may change how numbers are computed or rounded, in words."""
        words = self._in_words(), now._in_words()
        for name in {**words[0], **words[1]}:
            pair = [each.get(name, "unknown") for each in words]
            # Uncommitted changes on top of one commit need not be the same.
            if pair[0] != pair[1] or _CHANGED in pair[0]:
                yield f"{name}: {pair[0]} then, {pair[1]} now"
        if self.augmented_on not in (None, now.augmented_on):
            yield f"patches augmented on (augmentation.device): {self.augmented_on} then, {now.augmented_on} now"
        if self.threads != now.threads:
            yield f"threads (OMP_NUM_THREADS): {self.threads or 'unknown'} then, {now.threads} now"

    def require_same(self, now: "Conditions", run: str, data_advice: str, precision_advice: str) -> None:
        """Checks that a run can continue or repeat under the conditions `now`.

        Raises:
            UserError: if the data or the precision differ; it begins with `run` and ends with the advice.
        """
        if self.data_fingerprint != now.data_fingerprint:
            raise DataError(
                f"{run}: the data are no longer those that it was trained on (their fingerprint in summary.json is "
                f"different); bring them back{data_advice}"
            )
        if self.precision != now.precision:
            raise ConfigError(
                f"{run}: its precision on {self.device} was {self.precision} and would be {now.precision} on "
                f"{now.device}{precision_advice}"
            )

    def _in_words(self) -> dict[str, str]:
        words = {"code": "unknown"}
        if self.git is not None:
            words["code"] = f"commit {self.git.commit[:9]}{_CHANGED if self.git.changed else ''}"
        words |= {**(self.versions or {}), "version of the scores": str(self.metrics_version)}
        return {**words, "device": str(self.device)}
