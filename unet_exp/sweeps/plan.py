"""What is typed after `scripts/train.py`: one training, or a sweep with all of its runs checked.

Hydra's grammar reads the words. Its sweeper's product of them is private, and gives no run a name.
"""

import itertools
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hydra.core.override_parser.types import IntervalSweep, Override, ValueType

from unet_exp.compose import Composed, compose_command, compose_over, parse_overrides
from unet_exp.config import Config, is_trusted, parse
from unet_exp.config.search import OptunaConfig, parse_search
from unet_exp.config.sweeping import SweepConfig
from unet_exp.errors import ConfigError
from unet_exp.runs.earlier import AUTO, read_config
from unet_exp.runs.folder import RunFolder
from unet_exp.runs.sweep_folder import PlannedRun, SweepFolder, run_names
from unet_exp.schema import validate
from unet_exp.sweeps.search import check_search, with_typed

_BESIDE_RESUME = ("sweep.resume", "sweep.report", "search.trials", "search.parallel", "trust")
"""What can be typed to go on with a sweep, beside words for Hydra: nothing that would change a result."""
_THE_SWEEPS_OWN = (
    "hydra/sweeper",
    "hydra.sweeper",
    "hydra.sweep",
    "hydra.run",
    "hydra.mode",
    "sweep.run",
    "sweep.trial",
)
"""Words that the program gives by itself."""
_OF_ONE_RUN = {
    "resume": "this goes on with one training; a sweep, with sweep.resume=<its folder>",
    "rerun": "this repeats one training, without -m and without a search; of a sweep, give the folder of one run",
}
"""Keys that name an earlier run, and why they are none of a sweep's."""
_WHOLE = ("experiment", "debug", "search")
"""Choices that a run's config does not hold: what is typed with them is read like a new training."""
_OUTPUT = "outputs"
"""As in `conf/train.yaml`."""
_ONE_FOR_ALL = ("output", "sweep", "search", "hydra", "hydra/launcher")
"""Keys that a whole sweep shares."""


@dataclass(frozen=True)
class Plan:
    """A sweep that has been checked.

    Attributes:
        words: as typed; of the first start, where it goes on.
        config_dir: folder of the user's own configs, a whole path.
        hydra: words for Hydra itself, such as the launcher's.
        runs: all of them; for a search one that stands for its trials.
        configs: of these runs.
        sweep: how it is run.
        search: what plans its runs one after another; None where all are known.
        name: of the folder to be made.
        launcher: Hydra's settings of it.
        folder: the one there is already, where the sweep goes on.
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
    folder: SweepFolder | None = None


def read_command(words: Sequence[str], config_dir: str | None = None, multirun: bool = False) -> Config | Plan:
    """Reads a command line and checks all that it asks for.

    Args:
        words: as typed.
        config_dir: folder of the user's own configs.
        multirun: whether `-m` was typed.

    Returns:
        One training, or a sweep.

    Raises:
        UserError: for the first mistake in any of the trainings.
    """
    typed = parse_overrides(words, sweeps=True)
    for override in typed:
        _check_place(override)
    # Before anything is composed: what is typed beside it belongs to the words of the first start.
    resumed = [override.value() for override in typed if override.key_or_group == "sweep.resume" and override.value()]
    if resumed:
        return _resumed(typed, config_dir, Path(str(resumed[-1])))
    one = next((override for override in reversed(typed) if override.key_or_group in _OF_ONE_RUN), None)
    if one is not None and not multirun and _adds_to_a_run(one, typed, config_dir):
        parse_overrides(words)
        return _over_run(one, words, {override.key_or_group for override in typed})
    composed = compose_command([_first(override) for override in typed], config_dir)
    sweep = validate(SweepConfig, composed.sweep)
    search = parse_search(composed.search)
    if multirun or composed.multirun or search is not None:
        if one is not None:
            raise ConfigError(f"{_line(one)}: {_OF_ONE_RUN[one.key_or_group]}")
        return _planned(words, config_dir, typed, composed, sweep, search)
    parse_overrides(words)  # several values where one is needed
    return parse(composed.training)


def _adds_to_a_run(one: Override, typed: Sequence[Override], config_dir: str | None) -> bool:
    """Whether what is typed is over the config of the run that `one` names, not over `conf/`."""
    whole = config_dir is not None or any(override.key_or_group in _WHOLE for override in typed)
    return not whole and not one.is_sweep_override() and one.value() not in (None, AUTO)


def _over_run(one: Override, words: Sequence[str], keys: Collection[str]) -> Config:
    """The config of the earlier run that `one` names, with what is typed over it."""
    key, path = one.key_or_group, Path(str(one.value()))
    before = read_config(RunFolder(path), key).model_dump()
    # Only what is typed now: a folder from somewhere else must not vouch for itself, nor say where to write.
    ours = {"trust": [], "output": _OUTPUT}
    config = parse(compose_over({**before, **ours}, dict.fromkeys(_OF_ONE_RUN), words))
    _require_trust(f"{key}={path}", config, config.trust, keys)
    return config


def _require_trust(where: str, config: Config, trust: Collection[str], keys: Collection[str] = ()) -> None:
    """A class that an earlier run's folder names is imported only where its package is trusted now.

    Args:
        where: the key and the folder, for the message.
        config: what is about to be trained.
        trust: what was typed for it now.
        keys: that were typed now.

    Raises:
        ConfigError: if it is not.
    """
    for group in ("model", "loss"):
        target = getattr(getattr(config, group), "target", None)
        if target and f"{group}.target" not in keys and not is_trusted(target, trust):
            raise ConfigError(
                f"{where}: its {group}.target={target} is a class that is not of unet_exp and whose code would "
                f"run; if you trust it, add trust=[{target.partition('.')[0]}]"
            )


def _check_place(override: Override) -> None:
    key = override.key_or_group
    if key in (*_OF_ONE_RUN, "sweep.resume") and override.value() == "":  # a variable of the shell that is not set
        raise ConfigError(f"{override.input_line}: there is no folder behind it; give that of an earlier run or sweep")
    if any(key == own or key.startswith(f"{own}.") for own in _THE_SWEEPS_OWN):
        raise ConfigError(f"{override.input_line}: this is not typed; commas make a sweep, and search=optuna a search")
    if override.is_sweep_override() and (key in _ONE_FOR_ALL or key.split(".")[0] in _ONE_FOR_ALL):
        raise ConfigError(f"{override.input_line}: a sweep has one of it; type one value")


def _planned(
    words: Sequence[str],
    config_dir: str | None,
    typed: list[Override],
    composed: Composed,
    sweep: SweepConfig,
    search: OptunaConfig | None,
) -> Plan:
    given = parse_overrides([f"{key}={value}" for key, value in composed.params.items()], sweeps=True)
    # What is typed takes the place of what an experiment sweeps over by itself.
    keyed = {
        override.get_key_element(): override
        for override in [*given, *typed]
        if override.key_or_group.split(".")[0] not in ("sweep", "search") and not _is_hydras(override)
    }
    hydra = [_line(override) for override in typed if _is_hydras(override)]
    if search is not None:
        # The words of the search itself are in the composed config, and are none of its trials'.
        search = _as_parallel(with_typed(search, keyed.values()), composed.launcher)
        common = [_line(override) for override in keyed.values() if not override.is_sweep_override()]
        runs = [PlannedRun("trials", common)]
        check_search(search, lambda more: parse(compose_command([*common, *more, *hydra], config_dir).training))
    else:
        runs = _product(keyed)
    configs = [parse(compose_command([*run.overrides, *hydra], config_dir).training) for run in runs]
    for config in configs:
        if config.trainer.devices not in (1, "auto"):
            raise ConfigError(f"trainer.devices={config.trainer.devices}: a run of a sweep has one device; set it to 1")
    names = {config.name for config in configs}
    varying = list(search.space) if search else [key for key, one in keyed.items() if one.is_sweep_override()]
    one_name = len(names) == 1 and not (search and {"data", "model", "fusion"} & search.space.keys())
    name = names.pop() if one_name else "-".join(key.rpartition(".")[2] for key in varying)
    whole = None if config_dir is None else str(Path(config_dir).resolve())
    return Plan(list(words), whole, hydra, runs, configs, sweep, search, name, composed.launcher)


def _as_parallel(search: OptunaConfig, launcher: Mapping[str, object]) -> OptunaConfig:
    """The search with `parallel` as a number: null means as many as joblib runs side by side."""
    if search.parallel is not None:
        return search
    jobs = launcher.get("n_jobs", 1)
    assert isinstance(jobs, int)
    return search.model_copy(update={"parallel": jobs if jobs > 0 else os.cpu_count() or 1})


def _resumed(typed: list[Override], config_dir: str | None, path: Path) -> Plan:
    for override in typed:
        if not _is_hydras(override) and override.key_or_group not in _BESIDE_RESUME:
            raise ConfigError(
                f"{override.input_line}: sweep.resume goes on with the words of the sweep; beside it only "
                f"hydra/launcher, {', '.join(_BESIDE_RESUME[1:])} can be typed"
            )
    folder = SweepFolder.open(path)
    # It may be somebody else's.
    folder.check_harmless()
    if folder.config_dir is not None and config_dir is None:
        raise ConfigError(
            f"sweep.resume={path}: some of its words are configs in {folder.config_dir}; if you trust them, add "
            f"--config-dir {folder.config_dir}"
        )
    before = parse_overrides(folder.words, sweeps=True)
    if any(override.key_or_group == "hydra/launcher" for override in typed):
        before = [
            override for override in before if not override.key_or_group.startswith(("hydra/launcher", "hydra.l"))
        ]
    # Later words win: another launcher, more trials.
    words = [_line(one) for one in before if one.key_or_group != "sweep.resume"]
    words += [_line(one) for one in typed if one.key_or_group not in ("sweep.resume", "trust")]
    plan = read_command(words, config_dir, multirun=True)
    assert isinstance(plan, Plan)
    trust = {str(package) for one in typed if one.key_or_group == "trust" for package in _listed(one)}
    for config in plan.configs:
        _require_trust(f"sweep.resume={path}", config, trust)
        if not trust.issuperset(config.trust):
            raise ConfigError(f"sweep.resume={path}: if you trust {', '.join(config.trust)} too, add trust=[...]")
    if plan.search is None and folder.runs != plan.runs:
        raise ConfigError(
            f"sweep.resume={path}: its words no longer stand for the runs in its sweep.json; start the sweep anew"
        )
    return replace(plan, words=folder.words, folder=folder)


def _is_hydras(override: Override) -> bool:
    return override.key_or_group.split(".")[0].split("/")[0] == "hydra"


def _line(override: Override) -> str:
    assert override.input_line is not None
    return override.input_line


def _first(override: Override) -> str:
    """A word with one value: the first where it has several."""
    if not override.is_sweep_override():
        return _line(override)
    if override.is_interval_sweep():
        interval = override.value()
        assert isinstance(interval, IntervalSweep)
        return f"{override.get_key_element()}={interval.start}"
    return f"{override.get_key_element()}={_values(override)[0]}"


def _listed(override: Override) -> list[object]:
    value = override.value()
    return list(value) if isinstance(value, list) else [value]


def _values(override: Override) -> list[str]:
    """The values of a sweep over one key, as words."""
    line = override.input_line
    if override.value_type == ValueType.GLOB_CHOICE_SWEEP:
        raise ConfigError(f"{line}: globs are not used here; list the options with commas between them")
    try:
        values = list(override.sweep_string_iterator())
    except ValueError as error:
        raise ConfigError(f"{line}: {error}") from None
    if not values:
        raise ConfigError(f"{line}: there is no value in it")
    return values


def _product(keyed: Mapping[str, Override]) -> list[PlannedRun]:
    """A run for each combination of values; the last key changes first."""
    choices: list[list[tuple[str, str, str]]] = []
    for key, override in keyed.items():
        if override.is_interval_sweep():
            raise ConfigError(f"{override.input_line}: an interval is for search=optuna; list values, or take range()")
        if override.is_sweep_override():
            choices.append([(key, value.strip("'\""), f"{key}={value}") for value in _values(override)])
        else:
            choices.append([("", "", _line(override))])
    combinations = list(itertools.product(*choices))
    names = run_names([{key: value for key, value, _ in one if key} for one in combinations])
    return [PlannedRun(name, [word for _, _, word in one]) for name, one in zip(names, combinations, strict=True)]
