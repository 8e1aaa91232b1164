"""What the numbers of a training depend on beside its config: recorded in its summary, and held against now's."""

from collections.abc import Iterator
from typing import Annotated, Self

from pydantic import Field

from unet_exp.errors import ConfigError, DataError
from unet_exp.runs.folder import RunFolder
from unet_exp.schema import Strict, validate

_CHANGED = " with changes that were not committed"


class GitState(Strict):
    """Commit of the code, and whether it was changed since."""

    commit: str
    changed: bool


class Conditions(Strict):
    """What the numbers of a training depend on beside its config.

    Attributes:
        data_fingerprint: of its images and labels.
        metrics_version: of how scores are computed.
        device: on which it runs, such as `cpu` or `cuda`.
        precision: resolved.
        processes: that share the work. None: not told, as in summaries of earlier versions.
        threads: of PyTorch in each process: sums are cut into as many parts, and rounded accordingly. None: not told.
        init_from_sha256: of the file that its weights start from, in hexadecimal. None: not told, or there is none.
        git: commit of the code, and whether it was changed since; None outside a checkout.
        versions: of Python and of packages.
    """

    data_fingerprint: str
    metrics_version: int
    device: str
    precision: str
    processes: int | None = None
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    init_from_sha256: str | None = None
    git: GitState | None
    versions: dict[str, str]

    @classmethod
    def told_by(cls, folder: RunFolder) -> Self:
        """Those of an earlier run.

        Raises:
            DataError: if its summary does not tell them.
        """
        summary = folder.read_summary()
        try:
            return validate(cls, {key: summary[key] for key in cls.model_fields if key in summary})
        except ConfigError as error:
            raise DataError(f"{folder.summary}: it does not tell how the run was made: {error}") from None

    def others(self, now: "Conditions") -> Iterator[str]:
        """What is another now and may change how numbers are computed or rounded, in words."""
        before, today = self._in_words(), now._in_words()
        for name in {**before, **today}:
            pair = before.get(name, "unknown"), today.get(name, "unknown")
            # Two sets of changes on top of one commit need not be the same.
            if pair[0] != pair[1] or _CHANGED in pair[0]:
                yield f"{name}: {pair[0]} then, {pair[1]} now"
        if self.processes not in (None, now.processes):
            yield f"processes: {self.processes} then, {now.processes} now"
        if self.threads != now.threads:
            yield f"threads (OMP_NUM_THREADS): {self.threads or 'unknown'} then, {now.threads} now"

    def _in_words(self) -> dict[str, str]:
        words = {"code": "unknown"}
        if self.git is not None:
            words["code"] = f"commit {self.git.commit[:9]}{_CHANGED if self.git.changed else ''}"
        words |= {**self.versions, "version of the scores": str(self.metrics_version), "device": self.device}
        return words
