"""What is typed after `scripts/train.py`: one training, or a sweep with all of its runs checked."""

from collections.abc import Collection, Sequence
from pathlib import Path

from hydra.core.override_parser.types import Override

from unet_exp.compose import compose_command, compose_over, parse_overrides
from unet_exp.config import Config, parse
from unet_exp.config.search import parse_search
from unet_exp.config.sweeping import SweepConfig
from unet_exp.runs.earlier import AUTO, read_config
from unet_exp.runs.folder import OUTPUTS, RunFolder
from unet_exp.schema import validate
from unet_exp.sweeps.plan import (
    OF_ONE_RUN,
    SweepPlan,
    check_place,
    first_value,
    plan_sweep,
    require_trust,
    resume_sweep,
)

_WHOLE = ("experiment", "debug", "search")
"""Choices that a run's config does not hold: what is typed with them is read like a new training."""


def read_command(words: Sequence[str], config_dir: str | None = None, multirun: bool = False) -> Config | SweepPlan:
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
        check_place(override)
    # Before anything is composed: what is typed beside it belongs to the words of the first start.
    resumed = [override.value() for override in typed if override.key_or_group == "sweep.resume" and override.value()]
    if resumed:
        return resume_sweep(typed, config_dir, Path(str(resumed[-1])))
    one = next((override for override in reversed(typed) if override.key_or_group in OF_ONE_RUN), None)
    if one is not None and not multirun and _adds_to_a_run(one, typed, config_dir):
        parse_overrides(words)
        return _over_run(one, words, {override.key_or_group for override in typed})
    composed = compose_command([first_value(override) for override in typed], config_dir)
    if multirun or composed.multirun or parse_search(composed.search) is not None:
        return plan_sweep(words, typed, composed, config_dir)
    parse_overrides(words)  # several values where one is needed
    validate(SweepConfig, composed.sweep)
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
    ours = {"trust": [], "output": OUTPUTS}
    config = parse(compose_over({**before, **ours}, dict.fromkeys(OF_ONE_RUN), words))
    require_trust(f"{key}={path}", config, config.trust, keys)
    return config
