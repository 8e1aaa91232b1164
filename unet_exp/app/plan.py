"""What is typed after `scripts/train.py`: one training, or a sweep with all of its runs checked."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hydra.core.override_parser.types import IntervalSweep, Override

from unet_exp.app.compose import Composed, compose_command, parse_overrides
from unet_exp.app.search import check_search, with_typed
from unet_exp.config import Config, parse
from unet_exp.config.search import OptunaConfig, parse_search
from unet_exp.config.sweeping import SweepConfig
from unet_exp.errors import ConfigError
from unet_exp.schema import validate
from unet_exp.sweeps import PlannedRun, SweepFolder, run_names

_BESIDE_RESUME = ("sweep.resume", "sweep.report", "search.trials", "search.parallel")
"""What can be typed to go on with a sweep, beside words for Hydra: nothing that would change a result."""


@dataclass(frozen=True)
class Plan:
    """A sweep that has been checked.

    Attributes:
        words: as typed; of the first start, where it goes on.
        config_dir: folder of the user's own configs.
        hydra: words for Hydra itself, such as the launcher's.
        runs: all of them; for a search one that stands for its trials.
        configs: of these runs.
        sweep: how it is run.
        search: what plans its runs one after another; None where all are known.
        name: of the folder to be made.
        remote: whether other machines run it.
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
    remote: bool
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
    if any(override.key_or_group == "hydra/sweeper" for override in typed):
        raise ConfigError("hydra/sweeper is not used here: commas make a sweep, and search=optuna a search")
    composed = compose_command([_first(override) for override in typed], config_dir)
    sweep = validate(SweepConfig, composed.sweep)
    if sweep.resume is not None:
        return _resumed(typed, sweep, Path(sweep.resume))
    if multirun or composed.multirun:
        return _planned(words, config_dir, typed, composed, sweep)
    parse_overrides(words)  # several values where one is needed
    return parse(composed.training)


def _planned(
    words: Sequence[str], config_dir: str | None, typed: list[Override], composed: Composed, sweep: SweepConfig
) -> Plan:
    given = parse_overrides([f"{key}={value}" for key, value in composed.params.items()], sweeps=True)
    # What is typed takes the place of what an experiment sweeps over by itself.
    keyed = {override.get_key_element(): override for override in [*given, *typed] if not _is_hydras(override)}
    hydra = [_line(override) for override in typed if _is_hydras(override)]
    search = parse_search(composed.search)
    if search is not None:
        search = with_typed(search, keyed.values())
        common = [_line(override) for override in keyed.values() if not override.is_sweep_override()]
        runs = [PlannedRun("trials", common)]
        check_search(search, lambda more: parse(compose_command([*common, *more, *hydra], config_dir).training))
    else:
        runs = _product(keyed)
    configs = [parse(compose_command([*run.overrides, *hydra], config_dir).training) for run in runs]
    names = {config.name for config in configs}
    varying = list(search.space) if search else [key for key, one in keyed.items() if one.is_sweep_override()]
    one_name = len(names) == 1 and not (search and {"data", "model", "fusion"} & search.space.keys())
    name = names.pop() if one_name else "-".join(key.rpartition(".")[2] for key in varying)
    return Plan(list(words), config_dir, hydra, runs, configs, sweep, search, name, composed.remote)


def _resumed(typed: list[Override], sweep: SweepConfig, path: Path) -> Plan:
    for override in typed:
        if not _is_hydras(override) and override.key_or_group not in _BESIDE_RESUME:
            raise ConfigError(
                f"{override.input_line}: sweep.resume goes on with the words of the sweep; beside it only "
                f"hydra/launcher, {', '.join(_BESIDE_RESUME[1:])} can be typed"
            )
    folder = SweepFolder.open(path)
    # Later words win: another launcher, more trials.
    more = [_line(override) for override in typed if not override.key_or_group.startswith("sweep.")]
    plan = read_command([*folder.words, *more], folder.config_dir, multirun=True)
    assert isinstance(plan, Plan)
    return replace(plan, words=folder.words, sweep=sweep, folder=folder)


def _is_hydras(override: Override) -> bool:
    return override.key_or_group.split(".")[0].split("/")[0] == "hydra"


def _line(override: Override) -> str:
    assert override.input_line is not None
    return override.input_line


def _first(override: Override) -> str:
    """A word with one value: the first where it has several."""
    if not override.is_sweep_override():
        return _line(override)
    key = override.get_key_element()
    if override.is_interval_sweep():
        interval = override.value()
        assert isinstance(interval, IntervalSweep)
        return f"{key}={interval.start}"
    return f"{key}={next(override.sweep_string_iterator())}"


def _product(keyed: Mapping[str, Override]) -> list[PlannedRun]:
    """A run for each combination of values; the last key changes first."""
    choices: list[list[tuple[str, str, str]]] = []
    for key, override in keyed.items():
        if override.is_interval_sweep():
            raise ConfigError(f"{override.input_line}: an interval is for search=optuna; list values, or take range()")
        if override.is_sweep_override():
            values = list(override.sweep_string_iterator())
            choices.append([(key, value.strip("'\""), f"{key}={value}") for value in values])
        else:
            choices.append([("", "", _line(override))])
    combinations = list(itertools.product(*choices))
    names = run_names([{key: value for key, value, _ in one if key} for one in combinations])
    return [PlannedRun(name, [word for _, _, word in one]) for name, one in zip(names, combinations, strict=True)]
