"""Plans a sweep: from the words of the command line to the runs, all of them checked."""

import itertools
import os
import shlex
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from hydra.core.override_parser.types import Override

from unet_exp.compose import Composed, compose_command, parse_overrides
from unet_exp.config import Config
from unet_exp.config.multirun import OptunaConfig, SlurmConfig, SweepConfig, parse_slurm
from unet_exp.config.own_classes import explain_mistrust
from unet_exp.errors import ConfigError, UserError
from unet_exp.options import is_for_hydra
from unet_exp.runs.again import list_packages
from unet_exp.runs.study_storage import require_driver, resolve_storage
from unet_exp.runs.sweep_folder import PlannedRun, SweepFolder, run_names
from unet_exp.sweeps.space import add_typed, check_space
from unet_exp.sweeps.study import require_optuna
from unet_exp.sweeps.words import EARLIER_RUN, check_override, get_line, list_values, take_first_value

# Keys that may be typed to resume a sweep, beside those of Hydra: none changes a result.
_BESIDE_RESUME = (
    *("sweep.resume", "sweep.report", "sweep.per_job"),
    *("search.trials", "search.parallel", "search.storage", "trust"),
)


@dataclass(frozen=True)
class SweepPlan:
    """A checked sweep.

    Attributes:
        words: as typed; of the first start, where it is resumed.
        config_dir: folder of the user's own configs, an absolute path.
        hydra: words for Hydra itself, such as the launcher's.
        runs: all of them; for a search one that stands for its trials.
        configs: of these runs.
        search: what plans its runs one after another; None where all are known.
        name: of the folder to make.
        launcher: Hydra's settings of it.
        slurm: these, checked, where it is `slurm`; else None.
        folder: the existing one, where the sweep is resumed.
    """

    words: list[str]
    config_dir: str | None
    hydra: list[str]
    runs: list[PlannedRun]
    configs: list[Config]
    sweep: SweepConfig
    search: OptunaConfig | None
    name: str
    launcher: Mapping[str, object]
    slurm: SlurmConfig | None = None
    folder: SweepFolder | None = None


def plan_sweep(
    words: Sequence[str], typed: Sequence[Override], composed: Composed, config_dir: str | None
) -> SweepPlan:
    """Plans a sweep and checks every run of it; `composed` has each key with its first value.

    Raises:
        ConfigError: for the first mistake in any of the trainings.
    """
    for override in typed:
        check_override(override)
        if override.key_or_group in EARLIER_RUN and override.value() is not None:
            raise ConfigError(f"{get_line(override)}: {EARLIER_RUN[override.key_or_group]}")
    sweep, search = composed.parse_sweep()
    slurm = parse_slurm(composed.launcher)
    _check_per_job(sweep.per_job, slurm is not None, search is not None)
    given = parse_overrides([f"{key}={value}" for key, value in composed.params.items()], sweeps=True)
    # Typed words replace what an experiment sweeps over by itself.
    keyed = {
        override.get_key_element(): override
        for override in [*given, *typed]
        if override.key_or_group.split(".")[0] not in ("sweep", "search") and not is_for_hydra(override)
    }
    hydra = [get_line(override) for override in typed if is_for_hydra(override)]
    if search is not None:
        search = _resolve_parallel(add_typed(search, keyed.values()), composed.launcher)
        common = [get_line(override) for override in keyed.values() if not override.is_sweep_override()]
        runs = [PlannedRun("trials", common)]
        require_optuna()
        if search.storage is not None:
            require_driver(search.storage)
        check_space(search, lambda more: compose_command([*common, *more, *hydra], config_dir).parse())
    else:
        runs = _plan_product(keyed)
    configs = [compose_command([*run.overrides, *hydra], config_dir).parse() for run in runs]
    for config in configs:
        if config.trainer.devices not in (1, "auto"):
            raise ConfigError(f"trainer.devices={config.trainer.devices}: a run of a sweep has one device; set it to 1")
        if config.trainer.num_nodes > 1:
            raise ConfigError(
                f"trainer.num_nodes={config.trainer.num_nodes}: a run of a sweep is on one machine; set it to 1"
            )
    whole = None if config_dir is None else str(Path(config_dir).resolve())
    name = _name_sweep(configs, search, keyed)
    if search is not None and search.storage is not None:
        address = {"storage": resolve_storage(search.storage), "study": search.study or name}
        search = search.model_copy(update=address)
    return SweepPlan(list(words), whole, hydra, runs, configs, sweep, search, name, composed.launcher, slurm)


def _check_per_job(count: int, is_slurm: bool, is_search: bool) -> None:
    if count > 1 and not is_slurm:
        raise ConfigError(
            f"sweep.per_job={count}: only jobs of SLURM hold several runs; add hydra/launcher=slurm, or leave it out"
        )
    if count > 1 and is_search:
        raise ConfigError(
            f"sweep.per_job={count}: a job of a search trains trial after trial anyway; leave it out, and say with "
            "search.parallel how many jobs there are"
        )


def _name_sweep(configs: Sequence[Config], search: OptunaConfig | None, keyed: Mapping[str, Override]) -> str:
    """The folder's name: that of its runs where they share one, else the keys that vary."""
    names = {config.name for config in configs}
    if "name" in keyed and len(names) == 1:
        return names.pop()
    varying = list(search.space) if search else [key for key, override in keyed.items() if override.is_sweep_override()]
    one_name = len(names) == 1 and not (search and {"data", "model", "fusion"} & search.space.keys())
    return names.pop() if one_name else "-".join(key.rpartition(".")[2] for key in varying)


def resume_sweep(typed: Sequence[Override], config_dir: str | None, path: Path) -> SweepPlan:
    """Plans the missing runs of an earlier sweep; `typed` are the words beside its own.

    Raises:
        UserError: if it cannot be resumed in this way.
    """
    for override in typed:
        if not is_for_hydra(override) and override.key_or_group not in _BESIDE_RESUME:
            raise ConfigError(
                f"{override.input_line}: sweep.resume goes on with the words of the sweep; beside it only "
                f"hydra/launcher, {', '.join(_BESIDE_RESUME[1:])} can be typed"
            )
    folder = SweepFolder.open(path)
    folder.check_harmless()  # it may come from anybody
    if folder.config_dir is not None and config_dir is None:
        packages = _find_packages(folder)
        again = shlex.quote(f"trust=[{','.join(packages) or '<package>'}]")
        named = f"{again} for their classes" if packages else f"{again} if they name classes of yours"
        raise ConfigError(
            f"sweep.resume={path}: some of its words are configs in {folder.config_dir}; if you trust them, add "
            f"--config-dir {shlex.quote(folder.config_dir)}, and {named}"
        )
    before = parse_overrides(folder.words, sweeps=True)
    if any(override.key_or_group == "hydra/launcher" for override in typed):
        of_launcher = ("hydra/launcher", "hydra.l", "sweep.per_job")
        before = [override for override in before if not override.key_or_group.startswith(of_launcher)]
    before = _drop_storage(path, before, typed)
    # Later words win: another launcher, more trials.
    words = [get_line(word) for word in before if word.key_or_group != "sweep.resume"]
    words += [get_line(word) for word in typed if word.key_or_group not in ("sweep.resume", "trust")]
    parsed = parse_overrides(words, sweeps=True)
    plan = plan_sweep(
        words, parsed, compose_command([take_first_value(word) for word in parsed], config_dir), config_dir
    )
    trust = {str(package) for word in typed if word.key_or_group == "trust" for package in _as_list(word)}
    for config in plan.configs:
        require_trust(f"sweep.resume={path}", config, trust)
        if not trust.issuperset(config.trust):
            again = shlex.quote(f"trust=[{','.join(sorted(trust.union(config.trust)))}]")
            raise ConfigError(f"sweep.resume={path}: if you trust {', '.join(config.trust)} too, add {again}")
    if plan.search is None and [run.overrides for run in folder.runs] != [run.overrides for run in plan.runs]:
        raise ConfigError(
            f"sweep.resume={path}: its words no longer stand for the runs in its sweep.json; start the sweep anew"
        )
    return replace(plan, words=folder.words, folder=folder)


def _find_packages(folder: SweepFolder) -> list[str]:
    """The packages that must be trusted to resume a sweep, as far as its runs have begun."""
    configs = []
    for run in folder.runs:
        with suppress(UserError):  # it has not, or is of another version
            configs.append(folder.folder(run).read_config())
    return list_packages(configs)


def _drop_storage(path: Path, before: Sequence[Override], typed: Sequence[Override]) -> list[Override]:
    """The words of a sweep without that of its storage, which must be typed again: it may lead anywhere.

    Raises:
        ConfigError: if it is not, or if the sweep has none.
    """
    known = [override for override in before if override.key_or_group == "search.storage"]
    again = [override for override in typed if override.key_or_group == "search.storage"]
    if known and not again:
        raise ConfigError(
            f"sweep.resume={path}: its trials are in a storage of its own; if you trust that, add "
            f"{shlex.quote(get_line(known[-1]))}"
        )
    if again and not known:
        raise ConfigError(
            f"{get_line(again[-1])}: sweep.resume={path} has its trials elsewhere; leave it out, or start a new search"
        )
    return [override for override in before if override not in known]


def require_trust(where: str, config: Config, trust: Collection[str], keys: Collection[str] = ()) -> None:
    """Checks that classes which the folder of an earlier run names are typed or trusted now, before they are imported.

    Raises:
        ConfigError: if not; it begins with `where`.
    """
    if mistake := explain_mistrust(config.model_dump(), "train", trust, keys):
        raise ConfigError(f"{where}: it names {mistake}")


def _resolve_parallel(search: OptunaConfig, launcher: Mapping[str, object]) -> OptunaConfig:
    """The search with `parallel` as a number: null means as many as the launcher runs side by side."""
    if search.parallel is not None:
        return search
    jobs = launcher.get("n_jobs", launcher.get("array_parallelism", 1))
    assert isinstance(jobs, int)
    return search.model_copy(update={"parallel": jobs if jobs > 0 else os.cpu_count() or 1})


def _as_list(override: Override) -> list[object]:
    value = override.value()
    return list(value) if isinstance(value, list) else [value]


def _plan_product(keyed: Mapping[str, Override]) -> list[PlannedRun]:
    """A run for each combination of values; the last key changes first."""
    choices: list[list[tuple[str, str, str]]] = []
    for key, override in keyed.items():
        if override.is_interval_sweep():
            raise ConfigError(f"{override.input_line}: an interval is for search=optuna; list values, or take range()")
        if override.is_sweep_override():
            choices.append([(key, value.strip("'\""), f"{key}={value}") for value in list_values(override)])
        else:
            choices.append([("", "", get_line(override))])
    combinations = list(itertools.product(*choices))
    names = run_names([{key: value for key, value, _ in choice if key} for choice in combinations])
    return [PlannedRun(name, [word for _, _, word in choice]) for name, choice in zip(names, combinations, strict=True)]
