"""What the launcher of a search leaves in the sweep's folder for its workers: `search.json`."""

import json
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from unet_exp.config.multirun import OptunaConfig
from unet_exp.errors import ConfigError, DataError
from unet_exp.files import hold_lock, write_text
from unet_exp.runs.run_folder import RunFolder
from unet_exp.runs.study_storage import StudyAddress
from unet_exp.runs.sweep_folder import SweepFolder, name_trial
from unet_exp.schema import Strict, validate

_FILE = "search.json"


class SearchTask(Strict):
    """What a worker needs to know.

    Attributes:
        id: of the sweep's folder, which other machines may know by another path.
        search: its settings.
        config_dir: folder of the user's own configs, if any.
        detached: whether workers live on without the launcher, as the jobs of a cluster do.
    """

    id: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
    search: OptunaConfig
    config_dir: str | None
    detached: bool

    @classmethod
    def read(cls, folder: Path) -> "SearchTask":
        """Reads it.

        Raises:
            DataError: if it is missing or damaged.
        """
        try:
            return validate(cls, json.loads((folder / _FILE).read_text()))
        except (OSError, ValueError, RecursionError, ConfigError):
            raise DataError(f"{folder / _FILE} is missing or damaged") from None

    @classmethod
    def write(cls, folder: Path, search: OptunaConfig, config_dir: str | None, detached: bool) -> "SearchTask":
        """Writes it for the workers of a start; a folder keeps its id."""
        try:
            known = cls.read(folder).id
        except DataError:
            known = uuid.uuid4().hex
        task = cls(id=known, search=search, config_dir=config_dir, detached=detached)
        write_text(folder / _FILE, json.dumps(task.model_dump(), indent=2) + "\n")
        return task


def get_address(search: OptunaConfig, folder: SweepFolder) -> StudyAddress:
    """Where the study of a search is: what is typed, or the journal in the sweep's folder."""
    if search.storage is None:
        return StudyAddress(str(folder.journal.resolve()), "search")
    assert search.study is not None  # the plan has resolved it
    return StudyAddress(search.storage, search.study)


@dataclass(frozen=True)
class Place:
    """The sweep's folder in which a launcher has its trials, as the study records it.

    Attributes:
        folder: an absolute path on that machine.
        id: see `SearchTask`.
        host: of the launcher.
    """

    folder: str
    id: str
    host: str

    @classmethod
    def here(cls, folder: Path, task: SearchTask) -> "Place":
        """That of a launcher on this machine."""
        return cls(str(folder.resolve()), task.id, socket.gethostname())

    @classmethod
    def parse(cls, recorded: Any) -> "Place | None":
        """From the study; None for anything else."""
        fields = set(cls.__dataclass_fields__)
        if not isinstance(recorded, dict) or set(recorded) != fields:
            return None
        return cls(**recorded) if all(isinstance(value, str) for value in recorded.values()) else None

    def record(self) -> dict[str, str]:
        """For the study."""
        return asdict(self)

    @property
    def is_reachable(self) -> bool:
        """Whether that folder is on a disk of this machine."""
        try:
            return SearchTask.read(Path(self.folder)).id == self.id
        except DataError:
            return False

    def run(self, number: int) -> RunFolder:
        """The folder of a trial's run."""
        return RunFolder(Path(self.folder) / name_trial(number))

    @contextmanager
    def hold(self, wait: bool = True) -> Iterator[None]:
        """Gives trials of this folder to one worker at a time.

        Raises:
            BlockingIOError: if another has this lock, and it is not waited for.
        """
        with hold_lock(Path(self.folder) / ".ask", wait):
            yield
