"""What the numbers of a training depend on beside its config."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

_CHANGED = " with changes that were not committed"


class PlainRecord(BaseModel):
    """Plain values of exactly these types. What a later version has added is ignored."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class GitState(PlainRecord):
    """Commit of the code, and whether it was changed since."""

    commit: str
    changed: bool = False


class Conditions(PlainRecord):
    """What the numbers of a training depend on beside its config. None: not recorded, as in earlier versions.

    Attributes:
        data_fingerprint: sha256 of its images and labels.
        metrics_version: of how scores are computed.
        device: on which it runs, such as `cpu` or `cuda`.
        precision: resolved.
        processes: that share the work.
        threads: of PyTorch in each process: sums are cut into as many parts, and rounded accordingly.
        init_from_sha256: of the checkpoint that its weights start from, in hexadecimal; also None if there is none.
        git: of the code; also None outside a checkout.
        versions: of Python and of packages.
    """

    data_fingerprint: str | None = None
    metrics_version: int | None = None
    device: str | None = None
    precision: str | None = None
    processes: int | None = None
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    init_from_sha256: str | None = None
    git: GitState | None = None
    versions: dict[str, str] | None = None

    def list_changes(self, now: "Conditions") -> Iterator[str]:
        """What is different now and may change how numbers are computed or rounded, in words."""
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
        words |= {**(self.versions or {}), "version of the scores": str(self.metrics_version)}
        return {**words, "device": str(self.device)}
