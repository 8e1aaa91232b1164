"""The folder of a sweep: its plan, and a run folder for each run."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import chain, count
from pathlib import Path
from textwrap import shorten
from typing import Annotated, Any

from pydantic import AfterValidator

from unet_exp.errors import ConfigError, DataError
from unet_exp.files import write_text
from unet_exp.keys import rename_override
from unet_exp.runs.run_folder import RunFolder, dated_folder, refuse_links
from unet_exp.runs.summary import Status
from unet_exp.schema import Strict, validate

NAME_LIMIT = 80  # characters of a run's name; file systems allow 255 bytes, and people read names in tables
_PLAIN_LAUNCHER = re.compile(r"hydra/launcher=\w+|hydra\.launcher\.[a-z]\w*=[\w:.-]*")
"""What chooses a launcher or gives it a number or a word, such as a partition's name."""
_TRIAL = re.compile(r"trial-\d{3,}")


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep: the name of its folder, and the words that start it."""

    name: str
    overrides: list[str]


def _make_legal(text: str) -> str:
    return re.sub(r"[^\w.,=+-]+", "-", text, flags=re.ASCII).strip("-.,")


def _check_legal(name: str) -> str:
    if not name or name != _make_legal(name):
        raise ValueError("must be the name of a folder")
    return name


class _Run(Strict):
    name: Annotated[str, AfterValidator(_check_legal)]
    overrides: list[str]


class _Plan(Strict):
    """`sweep.json`; anybody may have written it, and runs empty the folders that it names."""

    created: str
    words: list[str]
    config_dir: str | None
    search: str | None
    runs: list[_Run]


@dataclass(eq=False)
class SweepFolder:
    """The folder of a sweep.

    Attributes:
        path: the folder itself.
        words: what was typed.
        config_dir: folder of the user's own configs, if any.
        search: the word of the search that plans the runs one after another; None where all are known at once.
        planned: runs in the plan; of a search those that earlier versions wrote into it.
        created: ISO time of the first plan.
        lock: of the process that runs it.
        stop: exists while a signal makes that process exit, so that no further run begins.
        journal: where a search keeps its trials.
        earliest: names the run that began first, if the sweep was resumed; see `find_earliest`.
    """

    path: Path
    words: list[str]
    config_dir: str | None = None
    search: str | None = None
    planned: list[PlannedRun] = field(default_factory=list)
    created: str = field(default_factory=lambda: datetime.now().isoformat(timespec="milliseconds"))

    def __post_init__(self) -> None:
        self.lock = self.path / ".lock"
        self.stop = self.path / ".stop"
        self.journal = self.path / "search.journal"
        self.earliest = self.path / ".earliest"

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
        folder = cls(dated_folder(parent, name), list(words), config_dir, search, list(runs))
        folder._write_plan()
        return folder

    @classmethod
    def open(cls, path: Path) -> "SweepFolder":
        """Reads the plan of an earlier sweep.

        Raises:
            DataError: if it is missing or damaged.
        """
        plan = path / "sweep.json"
        if not path.exists():
            raise DataError(f"sweep.resume={path}: there is no such folder; sweeps are in outputs/sweep")
        if not plan.is_file():
            raise DataError(f"sweep.resume={path}: there is no {plan.name} in it; give the folder of a sweep")
        try:
            values = json.loads(plan.read_text())
            read = validate(_Plan, values)
        except (OSError, ValueError, RecursionError, ConfigError) as error:
            raise DataError(f"{plan}: it is damaged ({shorten(str(error), 200)}); start the sweep anew") from None
        # An earlier version may have written it.
        runs = [PlannedRun(run.name, [rename_override(word)[0] for word in run.overrides]) for run in read.runs]
        words = [rename_override(word)[0] for word in read.words]
        return cls(path, words, read.config_dir, read.search, runs, read.created)

    def check_harmless(self) -> None:
        """Finds what would let a stranger's sweep reach beyond its folder: its words run again.

        Raises:
            DataError: for links, for settings of Hydra that may name other programs, and for words that read values of
                this machine.
        """
        refuse_links(self.path)
        for word in self.words:
            where = f"{self.path / 'sweep.json'}: {shorten(word, 100)}"
            if "hydra" in word.partition("=")[0] and not _PLAIN_LAUNCHER.fullmatch(word):
                raise DataError(
                    f"{where} may start other programs; if you trust it, take it out of the words, and type it beside "
                    "sweep.resume"
                )
            if "${" in word and not word.startswith("search.storage="):  # which a resume leaves out
                raise DataError(f"{where} refers to something beside it with ${{...}}; write its value in its place")

    @property
    def runs(self) -> list[PlannedRun]:
        """The planned runs; of a search the trials that have a folder, whose words are in their summaries."""
        if self.search is None:
            return self.planned
        names = {path.name for path in self.path.iterdir() if _TRIAL.fullmatch(path.name)}
        found = sorted(names.difference(run.name for run in self.planned), key=lambda name: (len(name), name))
        return [*self.planned, *(PlannedRun(name, []) for name in found)]

    def note_earliest(self) -> None:
        """Writes down which run began first, for those that begin now; what an earlier resume has noted stays."""
        if self.find_earliest() is not None:
            return
        begun = [folder for run in self.runs if (folder := self.folder(run)).config.is_file()]
        if begun:  # one without a checkpoint begins again, with a new config
            first = min(begun, key=lambda run: (not (run.has_checkpoint or run.is_over), run.config.stat().st_mtime_ns))
            write_text(self.earliest, first.path.name)

    def find_earliest(self) -> RunFolder | None:
        """The run that began before the sweep was resumed, perhaps by an earlier version; None without such."""
        try:
            name = _check_legal(self.earliest.read_text())
        except (OSError, ValueError):
            return None
        found = RunFolder(self.path / name)
        return found if found.config.is_file() else None

    def folder(self, run: PlannedRun) -> RunFolder:
        """The folder of a run."""
        return RunFolder(self.path / run.name)

    def status(self, run: PlannedRun) -> Status | None:
        """The status in the summary of a run; None where there is none."""
        return self.folder(run).read_summary().status

    def is_done(self, run: PlannedRun) -> bool:
        """See `RunFolder.is_over`."""
        return self.folder(run).is_over

    def _write_plan(self) -> None:
        plan: dict[str, Any] = {key: getattr(self, key) for key in ("created", "words", "config_dir", "search")}
        plan["runs"] = [asdict(run) for run in self.planned]
        write_text(self.path / "sweep.json", json.dumps(plan, indent=2) + "\n")


def name_trial(number: int) -> str:
    """The name of the folder of a search's trial."""
    return f"trial-{number:03d}"


def run_names(settings: Sequence[Mapping[str, str]]) -> list[str]:
    """Names of a sweep's runs: legal as file names, short, and unique.

    Args:
        settings: of each run, the keys that vary in the sweep with their values as typed.

    Returns:
        Such as `fusion=add,optimizer.lr=0.01`; `run` where nothing varies. If too long, only the last part of each key;
        if still too long, cut with six digits of a checksum.
    """
    names: dict[str, None] = {}  # an ordered set
    for values in settings:
        whole = _make_legal(",".join(f"{key}={value}" for key, value in values.items())) or "run"
        short = whole
        if len(short) > NAME_LIMIT:
            short = _make_legal(",".join(f"{key.rpartition('.')[2]}={value}" for key, value in values.items()))
        if len(short) > NAME_LIMIT:
            short = f"{short[: NAME_LIMIT - 7]}-{hashlib.sha256(whole.encode()).hexdigest()[:6]}"
        numbered = chain([short], (f"{short}_{number}" for number in count(2)))
        names[next(name for name in numbered if name not in names)] = None
    return list(names)
