"""Whether a sweep has enough runs for its comparison to say anything, asked before its first one."""

import json
import math
from collections.abc import Sequence

from unet_exp.config import Config
from unet_exp.keys import flat


def warn_of_few_pairs(configs: Sequence[Config]) -> str | None:
    """The warning that no difference of these runs can be called real, whatever their scores; None if some can.

    Args:
        configs: of all runs; those that differ only in seed and fold are one group, the first of which is the baseline.
    """
    from unet_exp.compare import ALPHA
    from unet_exp.compare.settings import NO_SETTING
    from unet_exp.compare.statistics import pairs_for_significance

    groups: dict[str, set[tuple[int, int]]] = {}
    for config in configs:
        values = flat(config.model_dump(mode="json", exclude={"logger"}))
        setting = json.dumps([(key, value) for key, value in values.items() if key not in NO_SETTING])
        groups.setdefault(setting, set()).add((config.seed, config.data.fold))
    baseline, *others = groups.values()
    pairs = [len(baseline & other) for other in others]
    tests = sum(count > 0 for count in pairs)
    needed = pairs_for_significance(tests, ALPHA) if tests else None
    if needed is None or max(pairs) >= needed:
        return None
    few = f"{max(pairs)} pairs of runs with the same seed and fold are" if max(pairs) > 1 else "one pair of runs is"
    tested = f"{tests} difference{'s' * (tests > 1)} tested at {ALPHA:g}"
    folds = len({fold for _, fold in baseline})
    seeds = math.ceil(needed / folds)
    runs = seeds * sum(len({fold for _, fold in group}) for group in groups.values())
    return (
        f"warning: {few} too few for any verdict: with {tested} it takes at least {needed}, such as with "
        f"seed=range({seeds}): {runs} runs"
    )
