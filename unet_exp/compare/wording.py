"""How a comparison is put into words: numbers, and what a reader should be warned of."""

import math
from collections.abc import Sequence
from typing import Literal

from unet_exp.compare.results import Difference, Group, Pairing

MISMATCH = 2.0
"""Percent in parameters or MACs above which groups are warned to be unequal."""


def number(value: float, style: Literal["", "+", "p"] = "", among: Sequence[float] = ()) -> str:
    """A number as a reader wants it.

    Args:
        value: any number.
        style: empty for a score (`0.8123`), `+` for a difference (`+0.0020`), `p` for a p value (`0.043`).
        among: numbers that stand beside it and shall have as many decimals.

    Returns:
        A score or a difference with four decimals, or with so many that the largest around has two digits; a p value
        with two digits; `undefined` for nan.
    """
    if math.isnan(value):
        return "undefined"
    if style == "p":
        return f"{value:.2g}"
    largest = max((abs(item) for item in (value, *among) if math.isfinite(item)), default=0.0)
    decimals = max(4, 1 - math.floor(math.log10(largest))) if largest else 4
    return f"{value:{style}.{decimals}f}"


def counted(count: int, noun: str) -> str:
    """`1 pair`, `2 pairs`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def warnings(groups: Sequence[Group], differences: Sequence[Difference], alpha: float) -> list[str]:
    """What a reader should know before believing a comparison.

    Args:
        groups: all of them, the baseline first.
        differences: of the others from it.
        alpha: the level of significance.

    Returns:
        A sentence each; none if all is well.
    """
    return [
        *_few_pairs(differences, alpha),
        *_single_runs(groups),
        *_unpaired(groups),
        *_mismatch(groups),
        *_circumstances(groups),
    ]


_NAMED = 3
"""Groups that a warning names; it says how many more there are."""


def _few_pairs(differences: Sequence[Difference], alpha: float) -> list[str]:
    few = [item for item in differences if item.verdict == "too few pairs"]
    if not few:
        return []
    counts = "; ".join(f"{item.group.label} ({item.pairs})" for item in few[:_NAMED])
    counts += f" and {len(few) - _NAMED} more" if len(few) > _NAMED else ""
    tested = counted(sum(item.pairs > 0 for item in differences), "difference")
    return [
        f"too few pairs for any verdict: {counts}. With {tested} tested at {alpha:g}, "
        f"at least {few[0].pairs_for_significance} pairs of runs with the same seed and fold are needed"
    ]


def _single_runs(groups: Sequence[Group]) -> list[str]:
    single = [group.label for group in groups if len(group.runs) == 1]
    return [f"a single run each, so that nothing is known of their spread: {'; '.join(single)}"] if single else []


def _unpaired(groups: Sequence[Group]) -> list[str]:
    """Unequal seeds or folds."""
    baseline, *others = ({(run.seed, run.fold) for run in group.runs} for group in groups)
    return [
        f"{group.label} and {groups[0].label} were not run with the same seeds and folds: runs without a partner "
        f"({_places(own ^ baseline)}) count in the mean of their group and not in the difference"
        for group, own in zip(groups[1:], others, strict=True)
        if own != baseline
    ]


def _places(places: set[Pairing], most: int = 6) -> str:
    ordered = sorted(places, key=lambda place: (place[0], -1 if place[1] is None else place[1]))
    words = [f"seed={seed}" + ("" if fold is None else f" fold={fold}") for seed, fold in ordered]
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")


def _mismatch(groups: Sequence[Group]) -> list[str]:
    baseline, *others = groups
    found = []
    for group in others:
        parts = [
            f"{abs(percent):.1f} % {'more' if percent > 0 else 'fewer'} {name}"
            for name, percent in (
                ("parameters", group.mismatch("parameters", baseline)),
                ("MACs", group.mismatch("macs", baseline)),
            )
            if abs(percent) > MISMATCH
        ]
        if parts:
            matched = all(run.config.get("model.match") in ("parameters", "flops") for run in group.runs)
            advice = (
                "their widths are matched to the nearest whole one, which comes closer for a larger model.width, and in "
                "the one that model.match names"
                if matched
                else "model.match=parameters or model.match=flops brings them together"
            )
            found.append(f"{group.label} has {' and '.join(parts)} than {baseline.label}; {advice}")
    return found


def _circumstances(groups: Sequence[Group]) -> list[str]:
    summaries = [run.summary for group in groups for run in group.runs]
    commits = [(summary.get("git") or {}).get("commit", "unknown")[:10] for summary in summaries]
    changed = sum(bool((summary.get("git") or {}).get("changed")) for summary in summaries)
    seen = {
        "devices": sorted({str(summary.get("device")) for summary in summaries}),
        "precisions": sorted({str(summary.get("precision")) for summary in summaries}),
        "commits of the code": sorted(set(commits)),
    }
    found = [f"the runs are of different {name}: {', '.join(of)}" for name, of in seen.items() if len(of) > 1]
    if changed:
        found.append(f"{changed} of {counted(len(summaries), 'run')} had changes in the code beyond its commit")
    return found
