"""Compares groups of runs that differ in a setting."""

import math
import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from unet_exp.compare import ALPHA, statistics
from unet_exp.compare.collect import Excluded, Run, choose_metric, find_score
from unet_exp.compare.option_names import name_settings
from unet_exp.compare.results import Comparison, Difference, Estimate, Group, Verdict
from unet_exp.compare.selection import select_comparable
from unet_exp.compare.settings import (
    Setting,
    encode_value,
    find_varying_keys,
    format_label,
    format_value,
    read_setting,
    select_label_keys,
)
from unet_exp.compare.wording import collect_warnings, write_sentence
from unet_exp.errors import ConfigError, DataError
from unet_exp.metrics.declarations import LOSS, Direction

__all__ = ["Comparison", "Difference", "Estimate", "Group", "Verdict", "compare_runs"]


def compare_runs(
    runs: Sequence[Run],
    excluded: Sequence[Excluded] = (),
    metric: str | None = None,
    baseline: str | None = None,
    alpha: float = ALPHA,
) -> Comparison:
    """Compares the groups of runs that differ in more than seed and fold.

    The unit is a run: its score is the mean of the scores of its test images. Each group is paired with the baseline by
    seed and fold, tested by flipping the signs of the pairs' differences, and Holm-adjusted over all groups. The two
    runs of a pair are compared on the images whose score is defined in both.

    Args:
        runs: finished runs of `collect`.
        excluded: runs of `collect` that cannot be compared.
        metric: a column of `per_image.csv`, with or without `test/`; None: see `choose_metric`.
        baseline: a group's label, or settings or values that it alone has, such as `concat`; None: the first run's
            group.
        alpha: level of significance, between 0 and 1.

    Raises:
        ConfigError: for an unknown metric, losses that differ, an unknown or ambiguous baseline, or a wrong alpha.
        DataError: if no run is left to compare.
    """
    if not 0 < alpha < 1:
        raise ConfigError(f"alpha={alpha}: must be more than 0 and less than 1")
    name, reason = choose_metric(runs) if metric is None else (metric.removeprefix("test/"), "")
    kept, refused = select_comparable(runs, name)
    all_excluded = [*excluded, *refused]
    _require_runs(kept, all_excluded)
    varying = find_varying_keys(kept)
    _check_losses(name, varying, kept)
    label_keys = select_label_keys(kept, varying)
    latest, repeated = _drop_repeated(kept, varying)
    all_excluded += repeated
    settings = name_settings(latest, label_keys)
    groups = [_build_group(*group, label_keys, name) for group in zip(latest, settings, strict=True)]
    base = _find_baseline(groups, baseline)
    groups.sort(key=lambda group: group is not base)
    best = find_score(name, kept).direction
    differences = _compute_differences(groups, name, alpha, best)
    return Comparison(
        metric=name,
        reason=reason,
        direction=best,
        groups=groups,
        baseline=base,
        differences=differences,
        varying=[*dict.fromkeys(key for group in groups for key in group.settings)],
        excluded=all_excluded,
        warnings=collect_warnings(groups, all_excluded, name),
        alpha=alpha,
    )


def _require_runs(runs: Sequence[Run], excluded: Sequence[Excluded]) -> None:
    if runs:
        return
    reasons = "; ".join(f"{item.folder}: {item.reason}" for item in excluded[:3]) or "there are none"
    more = f"; and {len(excluded) - 3} more" if len(excluded) > 3 else ""
    raise DataError(f"no run can be compared ({reasons}{more})")


def _drop_repeated(runs: Sequence[Run], varying: Sequence[str]) -> tuple[list[list[Run]], list[Excluded]]:
    """The runs of each group, only the latest for a seed and fold, and the others."""
    same: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        same.setdefault(tuple(encode_value(run, key) for key in varying), []).append(run)
    latest = [{(run.seed, run.fold): run for run in members} for members in same.values()]
    repeated = [
        Excluded(run.folder, f"repeated by the later {last[run.seed, run.fold].folder.name}")
        for members, last in zip(same.values(), latest, strict=True)
        for run in members
        if last[run.seed, run.fold] is not run
    ]
    return [list(last.values()) for last in latest], repeated


def _check_losses(metric: str, varying: Sequence[str], runs: Sequence[Run]) -> None:
    different = [key.removesuffix(".name") for key in varying if key.startswith("loss.")]
    if different and find_score(metric, runs) is LOSS:
        others = [name for name in runs[0].images.columns if name != LOSS.name]
        known = "iou/mean" if "iou/mean" in others else ", ".join(others)
        raise ConfigError(
            f"metric={metric}: the groups are trained with different losses ({', '.join(different)} varies), and the "
            f"value of one says nothing beside that of another; take a score of all, such as metric={known}"
        )


def _build_group(runs: list[Run], settings: dict[str, Any], label_keys: Sequence[str], metric: str) -> Group:
    runs = sorted(runs, key=lambda run: (run.seed, -1 if run.fold is None else run.fold))
    index = pd.MultiIndex.from_tuples([(run.seed, run.fold) for run in runs], names=["seed", "fold"])
    scores = pd.DataFrame([run.images.mean() for run in runs]).set_axis(index)
    values = scores[metric].to_numpy(np.float64)
    std = float(values.std(ddof=1)) if values.size > 1 else math.nan
    estimate = Estimate(values.size, float(values.mean()), std, *statistics.mean_interval(values))
    return Group(format_label(settings, label_keys), settings, runs, scores, estimate)


def _find_baseline(groups: Sequence[Group], wanted: str | None) -> Group:
    if wanted is None:
        return groups[0]

    def names(group: Group) -> set[Setting]:
        values = {key: format_value(value) for key, value in group.settings.items()}
        words = [group.label, *values.values(), *(f"{key}={value}" for key, value in values.items())]
        return {read_setting(word) for word in words}

    named = [names(group) for group in groups]
    whole = any(read_setting(wanted) in of_group for of_group in named)
    words = {read_setting(word.strip()) for word in ([wanted] if whole else wanted.split(","))}
    found = [group for group, of_group in zip(groups, named, strict=True) if words <= of_group]
    found = [group for group in found if group.label == wanted] or found
    if len(found) != 1:
        problem = "names no group" if not found else "names several groups"
        typed = " or ".join(shlex.quote(f"baseline={group.label}") for group in found or groups)
        raise ConfigError(f"baseline={wanted} {problem}; type one of: {typed}")
    return found[0]


def _compute_differences(groups: Sequence[Group], metric: str, alpha: float, best: Direction) -> list[Difference]:
    """Of each group from the first one."""
    baseline, *others = groups
    all_gains = [group.gains(baseline, metric) for group in others]
    p_values = [statistics.sign_flip_test(gains) for gains in all_gains]
    adjusted = statistics.holm(p_values).tolist()
    tests = max(1, sum(bool(gains) for gains in all_gains))
    result = []
    for group, gains, p, p_holm in zip(others, all_gains, p_values, adjusted, strict=True):
        low, high = statistics.mean_interval(gains)
        effect = statistics.effect_size(gains)
        least = statistics.smallest_p(len(gains))
        difference = Difference(
            group=group,
            gains=gains,
            pairs=len(gains),
            mean=float(np.mean(gains)) if gains else math.nan,
            low=low,
            high=high,
            p=p,
            p_holm=p_holm,
            effect=effect,
            smallest_p=least,
            pairs_for_significance=statistics.pairs_for_significance(tests, alpha),
            pairs_for_power=statistics.pairs_for_power(effect, alpha / tests),
            verdict=_decide_verdict(gains, p_holm <= alpha, least * tests > alpha, best),
            sentence="",
        )
        result.append(replace(difference, sentence=write_sentence(difference, baseline, metric, tests, best)))
    return result


def _decide_verdict(gains: Sequence[float], significant: bool, few: bool, best: Direction) -> Verdict:
    if not gains:
        return "no pairs"
    if not any(gains):
        return "identical"
    if significant:
        return "better" if (sum(gains) > 0) == (best == "max") else "worse"
    return "too few pairs" if few else "not distinguishable"
