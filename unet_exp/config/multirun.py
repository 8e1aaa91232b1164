"""Several trainings from one command: a sweep, or a search over values of other keys."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, field_validator, model_validator

from unet_exp.config.values import Count, Natural, PathName
from unet_exp.schema import Strict, validate

SLURM_TARGET = "unet_exp.sweeps.slurm.SlurmLauncher"
"""What tells `hydra/launcher=slurm`, and options of the user's that begin with it, from other launchers."""
_STORAGES = "write a file's path, sqlite:///<path>, or postgresql://<user>@<host>:<port>/<database>"


class SweepConfig(Strict):
    """A sweep.

    Attributes:
        resume: folder of an earlier sweep, whose missing and failed runs are run.
        report: whether it ends with a comparison.
        per_job: runs that one job of SLURM trains one after another.
        run: folder of one run; the sweep sets it for each job.
        worker: number of a job that trains trials of a search, one after another; the sweep sets it.
    """

    resume: PathName | None
    report: bool
    per_job: Count = 1
    run: str | None = None
    worker: Natural | None = None


class SlurmConfig(Strict):
    """Jobs of SLURM; `conf/hydra/launcher/slurm.yaml` explains the keys."""

    partition: str | None
    account: str | None
    qos: str | None
    constraint: str | None
    timeout_min: Count
    cpus_per_task: Count
    gpus_per_node: Natural
    mem_gb: Annotated[float, Field(gt=0)]
    setup: list[str]
    additional_parameters: dict[str, str | int | float | bool]
    array_parallelism: Count
    signal_delay_s: Natural
    max_num_timeout: Natural
    on_interrupt: Literal["leave", "cancel"]
    poll: Annotated[float, Field(gt=0)]

    @model_validator(mode="after")
    def _check_signal(self) -> Self:
        limit = 60 * self.timeout_min
        if self.signal_delay_s >= limit:
            raise ValueError(
                f"hydra.launcher.signal_delay_s={self.signal_delay_s}: should be less than the {limit} s "
                f"of hydra.launcher.timeout_min={self.timeout_min}"
            )
        return self


class Range(Strict):
    """Numbers from `low` to `high`, both included: integers if `low`, `high` and `step` are.

    Attributes:
        low: the least.
        high: the largest; more than `low`.
        log: whether the scale is logarithmic; then `low` is above 0, and there is no `step`.
        step: distance of neighbours, counted from `low`; None is 1 for integers, any number for others.
    """

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return not any(isinstance(number, float) for number in (self.low, self.high, self.step))

    @property
    def count(self) -> int | None:
        """How many numbers it holds; None for any number between two."""
        step = self.step or (1 if self.whole else None)
        return None if step is None else math.floor((self.high - self.low) / step + 1e-8) + 1  # 0.3 / 0.1 is below 3


def is_url(storage: str) -> bool:
    """Whether a storage is a database; else it is the path of a journal."""
    return "://" in storage


def _check_storage(storage: str) -> str:
    """Finds what makes no address of a storage; no message repeats a password."""
    if not is_url(storage):
        scheme = re.match(r"[A-Za-z][\w+]+:", storage)
        if scheme or not storage:
            raise ValueError(
                f"search.storage={scheme[0] if scheme else ''}: it is neither a path nor a URL; {_STORAGES}"
            )
        return storage
    if re.search(r"://[^/@]*:.*@|[?&]\w*password=", storage, re.IGNORECASE):
        raise ValueError(
            "search.storage: leave the password out, or it would stand in files; give it in the variable PGPASSWORD "
            "or in ~/.pgpass"
        )
    try:
        parts = urlsplit(storage)
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"search.storage={storage}: it cannot be read ({error}); {_STORAGES}") from None
    if parts.scheme not in ("sqlite", "postgresql"):
        meant = storage.replace(f"{parts.scheme}://", "postgresql://", 1)
        hint = f"did you mean {meant}?" if parts.scheme.startswith("postgres") else _STORAGES
        raise ValueError(f"search.storage={storage}: there is no {parts.scheme}:// here; {hint}")
    database = parts.path.removeprefix("/")
    if not database or database == ":memory:" or (parts.scheme == "sqlite" and parts.netloc):
        raise ValueError(f"search.storage={storage}: it names no database; {_STORAGES}")
    return storage


class NoSearchConfig(Strict):
    """No search."""

    name: Literal["none"]


class OptunaConfig(Strict):
    """A search with Optuna; `conf/search/optuna.yaml` explains the keys.

    Attributes:
        space: by key, dots included, a list of values or a range of numbers.
        storage: where the trials are kept: the path of a journal or the URL of a database, without a password; None is
            a journal in the sweep's folder.
        study: the name of the search there.
    """

    name: Literal["optuna"]
    trials: Count
    parallel: Count | None
    sampler: Literal["tpe", "random", "qmc"]
    pruner: Literal["none", "median", "hyperband", "successive_halving"]
    startup_trials: Natural
    warmup_validations: Natural
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    space: Annotated[dict[str, list[Any] | Range], Field(description="`{key: list or range, ...}`")]
    storage: Annotated[str, AfterValidator(_check_storage), Field(description="path · URL")] | None = None
    study: Annotated[str, Field(min_length=1, max_length=200)] | None = None

    @property
    def combinations(self) -> int | None:
        """How many trials can differ; None for any number."""
        counts = [len(entry) if isinstance(entry, list) else entry.count for entry in self.space.values()]
        return None if None in counts else math.prod(count for count in counts if count is not None)

    @model_validator(mode="after")
    def _check_study(self) -> Self:
        if self.study is not None and self.storage is None:
            raise ValueError(f"search.study={self.study}: it names a study in search.storage; give that too")
        return self

    @field_validator("space", mode="before")
    @classmethod
    def _check_space(cls, space: Any) -> Any:
        if not isinstance(space, dict):
            return space
        entries = {key: entry for key, entry in dict(_flat(space)).items() if entry is not None}
        for key, entry in entries.items():
            if wrong := _find_mistake(entry):
                raise ValueError(f"search.space.{key}: {wrong}")
        return entries


SearchConfig = Annotated[NoSearchConfig | OptunaConfig, Field(discriminator="name")]


class _Search(Strict):
    search: SearchConfig


class _Sweep(Strict):
    sweep: SweepConfig


class _Hydra(Strict):
    launcher: SlurmConfig


class _Slurm(Strict):
    hydra: _Hydra


def parse_sweep(values: dict[str, Any]) -> SweepConfig:
    """Checks the plain values of the group `sweep`.

    Raises:
        ConfigError: in one line, for the first mistake.
    """
    return validate(_Sweep, {"sweep": values}).sweep


def parse_slurm(launcher: Mapping[str, Any]) -> SlurmConfig | None:
    """Checks the settings of `hydra/launcher=slurm`; None for any other launcher.

    Raises:
        ConfigError: in one line, for the first mistake.
    """
    if launcher.get("_target_") != SLURM_TARGET:
        return None
    values = {key: value for key, value in launcher.items() if key != "_target_"}
    return validate(_Slurm, {"hydra": {"launcher": values}}).hydra.launcher


def parse_search(values: dict[str, Any]) -> OptunaConfig | None:
    """Checks the plain values of the group `search`; None for `search=none`.

    Raises:
        ConfigError: in one line, for the first mistake.
    """
    search = validate(_Search, {"search": values}).search
    return None if isinstance(search, NoSearchConfig) else search


def _flat(space: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Entries by their full key, whether written with dots or nested (as a command line makes them)."""
    for name, entry in space.items():
        if isinstance(entry, dict) and not entry.keys() & Range.model_fields.keys():
            yield from _flat(entry, f"{above}{name}.")
        else:
            yield f"{above}{name}", entry


def _find_mistake(entry: Any) -> str | None:
    """The mistake in an entry of the space."""
    if isinstance(entry, Range):
        return None
    if isinstance(entry, list):
        if any(value in entry[:index] for index, value in enumerate(entry)):
            return f"{entry} has a value twice"
        return None if len(entry) > 1 else f"{entry} leaves nothing to choose; list at least two values"
    if not isinstance(entry, dict):
        return f"{entry!r} is neither a list of values nor {{low: ..., high: ...}}"
    if unknown := [name for name in entry if name not in Range.model_fields]:
        return f"unknown key {unknown[0]}; a range has low, high, log and step"
    values: list[Any] = [entry.get(name) for name in ("low", "high", "step", "log")]
    low, high, step, log = values
    for name, number in {"low": low, "high": high, **({} if step is None else {"step": step})}.items():
        if type(number) not in (int, float) or not math.isfinite(number):
            return f"{name}={number!r} should be a number (YAML reads 1e-4 as text: write 0.0001)"
    if low >= high:
        return f"low={low} should be less than high={high}"
    if log and low <= 0:
        return f"low={low} should be above 0 where log is true"
    if log and step is not None:
        return "log and step do not go together"
    if step is not None and not 0 < step <= high - low:
        return f"step={step} should be above 0 and at most high - low"
    return None
