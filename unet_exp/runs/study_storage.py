"""Where a search keeps its trials: a journal file, or a database that several machines share.

A password is never part of an address: PostgreSQL's own library takes it from PGPASSWORD or ~/.pgpass.
"""

import importlib.util
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from unet_exp import signals
from unet_exp.config.multirun import is_url
from unet_exp.errors import ConfigError
from unet_exp.extras import hint_extra

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

_Result = TypeVar("_Result")
_PATIENCE = 600.0
"""Seconds for which a server may be away, as while it restarts."""
_LONGEST_WAIT = 15.0


@dataclass(frozen=True)
class StudyAddress:
    """A study of Optuna in its storage.

    Attributes:
        storage: the absolute path of a journal, or the URL of a database.
        name: of the study.
    """

    storage: str
    name: str

    def open(self, must_exist: bool = False) -> "BaseStorage":
        """Opens the storage, and makes what it lacks.

        Raises:
            Exception: what Optuna and the driver of the database raise; see `explain_errors`.
            FileNotFoundError: if a journal must exist, and does not.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        if is_url(self.storage):
            return _open_database(self.storage)
        from unet_exp.runs.study_journal import open_journal

        return open_journal(Path(self.storage), must_exist)

    def exists(self) -> bool:
        """Whether the study is there; no file is made.

        Raises:
            Exception: as `open`.
        """
        path = self.storage.removeprefix("sqlite:///")
        if not is_url(path) and not Path(path).exists():
            return False
        try:
            self.open().get_study_id_from_name(self.name)
        except KeyError:
            return False
        return True


def resolve_storage(storage: str) -> str:
    """A typed storage as every process of the search finds it: paths become absolute."""
    if not is_url(storage):
        return str(Path(storage).absolute())
    scheme, _, path = storage.partition(":///")
    return f"sqlite:///{Path(path).absolute()}" if scheme == "sqlite" else storage


def require_driver(storage: str) -> None:
    """Checks that the driver of a database is installed.

    Raises:
        ConfigError: if not.
    """
    if storage.startswith("postgresql") and importlib.util.find_spec("psycopg") is None:
        raise ConfigError(f"search.storage={storage}: it needs the extra: {hint_extra('postgres')}")


@contextmanager
def explain_errors(storage: str, opening: bool = True) -> Iterator[None]:
    """Makes one line of what is raised for a storage that cannot be used.

    Args:
        storage: the path or URL.
        opening: the block does nothing else than opening it; so files and damages are explained too.

    Raises:
        ConfigError: in place of errors of Optuna and of the database.
    """
    from optuna.exceptions import OptunaError
    from sqlalchemy.exc import SQLAlchemyError

    # Optuna does not check the lines of a journal, and says by a RuntimeError that tables are of another release.
    unchecked = (AssertionError, LookupError, TypeError, ValueError, RuntimeError, OSError) if opening else ()
    try:
        yield
    except ConfigError:
        raise
    except (OptunaError, SQLAlchemyError, *unchecked) as error:
        raise ConfigError(f"search.storage={storage}: {_explain(error, storage)}") from None


def retry(action: Callable[[], _Result]) -> _Result:
    """Does something with a storage, again and again while its server or disk is away.

    Raises:
        Exception: the last error, after ten minutes.
        Stopped: if a signal comes.
    """
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import DBAPIError

    end, wait = time.monotonic() + _PATIENCE, 0.5
    while True:
        try:
            return action()
        except (FileNotFoundError, PermissionError):
            raise
        except (StorageInternalError, DBAPIError, OSError):
            if time.monotonic() >= end or signals.received() is not None:
                raise
        time.sleep(wait)
        wait = min(2 * wait, _LONGEST_WAIT)


def _open_database(url: str) -> "BaseStorage":
    from optuna.storages import RDBStorage, get_storage
    from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError
    from sqlalchemy.pool import NullPool

    # A training takes hours, and its loader forks: no connection stays open. Two writers of SQLite take turns.
    wait = {"timeout": 60} if url.startswith("sqlite") else {"connect_timeout": 10}
    kwargs: dict[str, Any] = {"poolclass": NullPool, "connect_args": wait}
    driver = url.replace("postgresql://", "postgresql+psycopg://", 1)
    for _ in range(5):
        try:
            return get_storage(RDBStorage(driver, engine_kwargs=kwargs))
        except (IntegrityError, OperationalError, ProgrammingError) as error:
            # Another process may be making the same tables.
            if "already exists" not in str(error) and "unique" not in str(error).lower():
                raise
        time.sleep(0.2)
    return get_storage(RDBStorage(driver, engine_kwargs=kwargs))


def _explain(error: BaseException, storage: str) -> str:
    """The reason in one line, and what to do."""
    cause: BaseException = error
    while (deeper := getattr(cause, "orig", None) or cause.__cause__) is not None and deeper is not cause:
        cause = deeper
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    told = next((line for line in lines if "failed:" in line), lines[0] if lines else "")
    said = told or type(cause).__name__
    if "password" in said:
        return f"{said}; the password is taken from the variable PGPASSWORD or from ~/.pgpass"
    if "permission denied" in said:
        return f"{said}; give the user the right to make tables there: docs/shared_search.md"
    if "does not exist" in said:
        return f"{said}; make it with createdb: docs/shared_search.md"
    if storage.startswith("postgresql"):
        return f"{said}; is the server there, and can it be reached from here?"
    if isinstance(cause, IsADirectoryError):
        return "it is a folder; name a file in it, such as trials.journal"
    if isinstance(cause, OSError):
        return f"{cause.strerror or said}; its folder must exist, and be one to write to"
    if storage.startswith("sqlite"):
        return f"{said}; name a database of a search, or a new file in a folder to write to"
    return f"it is no journal of a search, or damaged ({type(cause).__name__}: {said}); name another file"
