"""The folder of a sweep: its plan, a run folder for each of its runs, and what has become of them."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import chain, count
from pathlib import Path
from typing import Any

from unet_exp.errors import DataError
from unet_exp.runs import RunFolder, dated_folder, write_text

NAME_LIMIT = 80
"""Characters of a run's name; file systems allow 255 bytes, and people read them in tables."""


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep.

    Attributes:
        name: of its folder.
        overrides: the words that it is started with.
    """

    name: str
    overrides: list[str]


class SweepFolder:
    """A sweep's folder.

    Attributes:
        path: the folder itself.
        words: what was typed.
        config_dir: folder of the user's own configs, if there was one.
        search: the word of the search that plans the runs one after another, None where all were known at once.
        runs: planned so far.
        created: when it was planned first, ISO time.
        lock: held by the process that runs it.
        journal: where a search keeps its trials.
    """

    def __init__(
        self,
        path: Path,
        words: Sequence[str],
        config_dir: str | None = None,
        search: str | None = None,
        runs: Sequence[PlannedRun] = (),
        created: str | None = None,
    ) -> None:
        self.path = path
        self.words = list(words)
        self.config_dir = config_dir
        self.search = search
        self.runs = list(runs)
        self.created = created or datetime.now().isoformat(timespec="milliseconds")
        self.lock = path / ".lock"
        self.journal = path / "search.journal"

    @classmethod
    def create(
        cls,
        parent: Path,
        name: str,
        words: Sequence[str],
        config_dir: str | None,
        search: str | None,
        runs: Sequence[PlannedRun],
    ) -> "SweepFolder":
        """Makes `<parent>/<date>_<time>_<name>` with the plan in it.

        Raises:
            DataError: if it cannot be made.
        """
        folder = cls(dated_folder(parent, name), words, config_dir, search, runs)
        folder._write_plan()
        return folder

    @classmethod
    def open(cls, path: Path) -> "SweepFolder":
        """Reads the plan of an earlier sweep.

        Raises:
            DataError: if there is none, or it is damaged.
        """
        plan = path / "sweep.json"
        if not plan.is_file():
            raise DataError(f"sweep.resume={path}: there is no {plan.name} in it; give the folder of a sweep")
        try:
            values = json.loads(plan.read_text())
            runs = [PlannedRun(run["name"], list(run["overrides"])) for run in values["runs"]]
            return cls(path, values["words"], values["config_dir"], values["search"], runs, values["created"])
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{plan}: it is damaged ({error}); start the sweep anew") from None

    def plan_more(self, runs: Sequence[PlannedRun]) -> None:
        """Adds runs to the plan."""
        self.runs += runs
        self._write_plan()

    def folder(self, run: PlannedRun) -> RunFolder:
        """Where a run is recorded."""
        return RunFolder(self.path / run.name)

    def status(self, run: PlannedRun) -> str | None:
        """What a run's summary says; None where there is none."""
        status = self.folder(run).read_summary().get("status")
        return status if isinstance(status, str) else None

    def is_done(self, run: PlannedRun) -> bool:
        """Whether a run has come to its end: it finished, or a search gave it up."""
        summary = self.folder(run).read_summary()
        return summary.get("status") == "finished" or "pruned_at" in summary

    def _write_plan(self) -> None:
        plan: dict[str, Any] = {
            "created": self.created,
            "words": self.words,
            "config_dir": self.config_dir,
            "search": self.search,
            "runs": [asdict(run) for run in self.runs],
        }
        write_text(self.path / "sweep.json", json.dumps(plan, indent=2) + "\n")


def run_names(settings: Sequence[Mapping[str, str]]) -> list[str]:
    """Names of a sweep's runs: legal as file names, short, and each of them once.

    Args:
        settings: of each run, the keys that vary in the sweep with their values as typed.

    Returns:
        Such as `fusion=add,optimizer.lr=0.01`; `run` where nothing varies. Where that is too long, keys lose all but
        their last part, then the end gives way to six digits of a checksum.
    """
    names: dict[str, None] = {}  # as a set that keeps its order
    for values in settings:
        whole = _legal(",".join(f"{key}={value}" for key, value in values.items())) or "run"
        short = whole
        if len(short) > NAME_LIMIT:
            short = _legal(",".join(f"{key.rpartition('.')[2]}={value}" for key, value in values.items()))
        if len(short) > NAME_LIMIT:
            short = f"{short[: NAME_LIMIT - 7]}-{hashlib.sha256(whole.encode()).hexdigest()[:6]}"
        numbered = chain([short], (f"{short}_{number}" for number in count(2)))
        names[next(name for name in numbered if name not in names)] = None
    return list(names)


def _legal(text: str) -> str:
    return re.sub(r"[^\w.,=+-]+", "-", text, flags=re.ASCII).strip("-.,")
