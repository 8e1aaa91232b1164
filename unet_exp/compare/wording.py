"""The words of a comparison: numbers, verdicts and warnings."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from unet_exp.compare.collect import Excluded, Run
from unet_exp.compare.results import Difference, Group, Pairing, Verdict
from unet_exp.compare.settings import format_value
from unet_exp.compare.statistics import DRAWS
from unet_exp.console import join_names
from unet_exp.metrics.declarations import METRICS, UNDEFINED, Direction
from unet_exp.runs.shared_warnings import count_warnings

MISMATCH = 2.0
"""Percent of difference in parameters or MACs that causes a warning."""


@dataclass(frozen=True)
class Look:
    """How a verdict appears: the claim after the label of a group, a sign, and the class of the colour."""

    claim: str
    mark: str
    tone: str


VERDICTS: dict[Verdict, Look] = {
    "better": Look("is better than {baseline}", "▲", "better"),
    "worse": Look("is worse than {baseline}", "▼", "worse"),
    "not distinguishable": Look("is not distinguishable from {baseline}", "≈", "unclear"),
    "identical": Look("is identical to {baseline}", "=", "unclear"),
    "too few pairs": Look("has too few pairs with {baseline} for a verdict", "○", "few"),
    "no pairs": Look("cannot be compared with {baseline}: their runs have no seed and fold in common", "○", "few"),
}


def format_number(value: float, style: Literal["", "+", "p"] = "", among: Sequence[float] = ()) -> str:
    """A number for readers.

    Args:
        value: any number.
        style: empty for a score (`0.8123`), `+` for a difference (`+0.0020`), `p` for a p value (`0.043`).
        among: neighbouring numbers, which get the same decimals.

    Returns:
        A score or a difference with four decimals, more if the largest of all shows fewer than two digits; a p value
        with two digits; `undefined` for nan.
    """
    if math.isnan(value):
        return "undefined"
    if style == "p":
        return f"{value:.2g}"
    largest = max((abs(item) for item in (value, *among) if math.isfinite(item)), default=0.0)
    return f"{value:{style}.{max(4, _decimals(largest))}f}"


def format_two_digits(value: float) -> str:
    """A number of 0 or more with two significant digits, but all digits before the point: 0.034, 2.0, 123."""
    return f"{value:.{_decimals(value)}f}"


def _decimals(value: float) -> int:
    """Decimals that show two significant digits."""
    return max(0, 1 - math.floor(math.log10(value))) if value else 0


def format_count(count: int, noun: str) -> str:
    """`1 pair`, `2 pairs`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def format_commit(run: Run) -> str:
    """The first digits of a run's commit."""
    return "unknown" if run.summary.git is None else run.summary.git.commit[:10]


def write_sentence(difference: Difference, baseline: Group, metric: str, tests: int, best: Direction) -> str:
    """The verdict on a difference from the baseline with its numbers.

    `tests` differences are tested together; `best` is the direction of the metric.
    """
    verdict = difference.verdict
    claim = f"{difference.group.label} {VERDICTS[verdict].claim.format(baseline=baseline.label)}"
    pairs = format_count(difference.pairs, "pair")
    if verdict == "no pairs":
        return claim
    if verdict == "identical":
        return f"{claim}: the same {metric} in {pairs}"
    mean, low, high = format_interval(difference)
    details = [f"difference {mean} in {metric}{'' if best == 'max' else ' (lower is better)'}"]
    if verdict == "too few pairs":
        details += [pairs, _describe_needed(difference)]
    else:
        p = f"p = {format_number(difference.p_holm, 'p')}{' (Holm)' if tests > 1 else ''}"
        details += [f"95 % interval {low} to {high}", pairs, p]
    if verdict == "not distinguishable" and (enough := difference.pairs_for_power) is not None:
        # An effect that so many would be needed for is one that nothing is known of.
        some = f"it takes more than {_MOST_PAIRS:,} pairs to" if enough > _MOST_PAIRS else f"about {enough} pairs would"
        details[-1] += f"; {some} find an effect of this size in 4 of 5 cases"
    return f"{claim}: {', '.join(details)}"


def write_verdicts(differences: Sequence[Difference], baseline: Group) -> list[str]:
    """A line for each difference, with its sign, but one for all that have too few pairs, and one for all without."""
    few = [item for item in differences if item.verdict == "too few pairs"]
    none = [item for item in differences if item.verdict == "no pairs"]
    several = {kind[0].verdict for kind in (few, none) if len(kind) > 1}
    alone = [item for item in differences if item.verdict not in several]
    lines = [f"{VERDICTS[item.verdict].mark} {item.sentence}" for item in alone]
    if len(few) > 1:
        least, most = min(item.pairs for item in few), max(item.pairs for item in few)
        pairs = f"{least} each" if least == most else f"{least} to {most}"
        lines.append(
            f"{VERDICTS['too few pairs'].mark} {len(few)} groups have too few pairs with {baseline.label} "
            f"for a verdict ({pairs}; {_describe_needed(few[0])})"
        )
    if len(none) > 1:
        lines.append(
            f"{VERDICTS['no pairs'].mark} {len(none)} groups have no seed and fold in common with {baseline.label}, "
            "and cannot be compared with it"
        )
    return lines


def format_interval(difference: Difference) -> tuple[str, str, str]:
    """The mean difference and both ends of its interval, with equally many decimals."""
    values = (difference.mean, difference.low, difference.high)
    mean, low, high = (format_number(value, "+", values) for value in values)
    return mean, low, high


def _describe_needed(difference: Difference) -> str:
    fewest = difference.pairs_for_significance
    if fewest is None:
        return f"and no number is enough at this alpha, as {DRAWS:,} patterns of signs are drawn at most"
    return f"at least {fewest} are needed"


def write_match_note(groups: Sequence[Group]) -> str:
    """What `model.match` leaves unequal while it equalises something else; empty if nothing. The baseline is first."""
    baseline, *others = groups
    notes = []
    for match, equal in _MATCHED.items():
        (other,) = set(_COUNTS) - {equal}
        left = [
            f"{group.label}: {group.mismatch(other, baseline):+.1f} %"
            for group in others
            if _get_match_word(group, baseline) == match and abs(group.mismatch(other, baseline)) > MISMATCH
        ]
        if left:
            notes.append(f"model.match={match} equalises {_COUNTS[equal]}, not {_COUNTS[other]} ({_list_first(left)}).")
    return " ".join(notes)


def collect_warnings(
    groups: Sequence[Group],
    excluded: Sequence[Excluded],
    metric: str,
) -> list[str]:
    """What a reader should know before trusting a comparison: a sentence each. The baseline is the first group."""
    return [
        *_warn_of_single_runs(groups),
        *_warn_of_lost_runs(excluded),
        *_limit(_warn_of_unpaired(groups)),
        *_warn_of_undefined(groups, metric),
        *_limit(_warn_of_mismatch(groups)),
        *_warn_of_one_class([run for group in groups for run in group.runs]),
        *_warn_of_conditions([run for group in groups for run in group.runs]),
        *_limit(count_warnings(run.summary.warnings for group in groups for run in group.runs)),
    ]


_NAMED = 3  # groups that a warning names
_MOST_PAIRS = 1000  # that are counted
_MOST_ALIKE = 20  # warnings of one kind
_COUNTS = {"parameters": "parameters", "macs": "MACs"}
_LEARNING = {"loss", "augmentation", "optimizer", "scheduler"}
"""Groups of keys that leave the network as large as it is."""
_MATCHED = {"parameters": "parameters", "flops": "macs"}
"""What each word of `model.match` equalises."""


def _limit(warnings: list[str]) -> list[str]:
    """One for each group, but for many groups only the first."""
    more = len(warnings) - _MOST_ALIKE
    return warnings if more <= 0 else [*warnings[:_MOST_ALIKE], f"the same is so of {format_count(more, 'more group')}"]


def _list_first(items: Sequence[str]) -> str:
    return "; ".join(items[:_NAMED]) + (f" and {len(items) - _NAMED} more" if len(items) > _NAMED else "")


def _warn_of_single_runs(groups: Sequence[Group]) -> list[str]:
    single = [group.label for group in groups if len(group.runs) == 1]
    if len(single) == len(groups) > 1:
        return [f"each of the {len(groups)} groups has a single run, so that nothing is known of their spread"]
    return [f"a single run each, so that nothing is known of their spread: {_list_first(single)}"] if single else []


def _warn_of_lost_runs(excluded: Sequence[Excluded]) -> list[str]:
    lost = sum(item.lost for item in excluded)
    if not lost:
        return []
    have, are = ("has", "is") if lost == 1 else ("have", "are")
    return [
        f"{format_count(lost, 'run')} failed, did not finish or {have} no score, and {are} not "
        "counted; if the setting itself is why, the difference flatters it"
    ]


def _warn_of_unpaired(groups: Sequence[Group]) -> list[str]:
    """Groups with other seeds or folds than the baseline."""
    baseline, *others = ({(run.seed, run.fold) for run in group.runs} for group in groups)
    alike: dict[str, list[Group]] = {}
    for group, own in zip(groups[1:], others, strict=True):
        if own != baseline:
            alike.setdefault(_format_pairings(own ^ baseline), []).append(group)
    found = []
    for pairings, members in alike.items():
        *names, of_baseline = _shorten_labels(members, groups)
        comma = "," if len(names) > 1 else ""
        found.append(
            f"{_join_first(names)}{comma} and {of_baseline}{comma} have no comparable run for every seed and fold: "
            f"those without a partner ({pairings}) count in the mean of their group and not in the difference"
        )
    return found


def _warn_of_undefined(groups: Sequence[Group], metric: str) -> list[str]:
    """Distances of groups of which one has missed, or invented, whole masks more often than another."""
    score, _, of_class = metric.partition("/")
    declared = next((other for other in METRICS if other.name == score), None)
    if declared is None or declared.can_choose:
        return []
    wanted = f"{UNDEFINED}/" if of_class == "mean" else f"{UNDEFINED}/{of_class}"
    names = [name for name in groups[0].scores if str(name).startswith(wanted)]
    shares = [float(group.scores[names].mean().sum()) for group in groups]
    if len({round(share, 9) for share in shares}) == 1:
        return []
    counts = _list_first([f"{group.label} {share:.3g}" for group, share in zip(groups, shares, strict=True)])
    return [
        f"{metric} leaves out images with one empty mask, of which the groups have different shares ({counts}): a "
        f"mask that is missed altogether does not worsen it; look at metric=surface_dice/{of_class} too"
    ]


def _format_pairings(places: set[Pairing]) -> str:
    ordered = sorted(places, key=lambda place: (place[0], -1 if place[1] is None else place[1]))
    return _list_first([f"seed={seed}" + ("" if fold is None else f" fold={fold}") for seed, fold in ordered])


def _get_match_word(group: Group, baseline: Group) -> str | None:
    """The word of `model.match` of two groups whose networks differ only in their fusion; else None."""
    own, others = group.settings, baseline.settings
    different = {key.partition(".")[0] for key in {*own, *others} if own.get(key) != others.get(key)} - _LEARNING
    return group.runs[0].config.get("model.match") if different == {"fusion"} else None


def _warn_of_mismatch(groups: Sequence[Group]) -> list[str]:
    baseline, *others = groups
    alike: dict[tuple[str, str], list[Group]] = {}
    for group in others:
        match = _get_match_word(group, baseline)
        counts, advice = list(_COUNTS), ""
        if match == "none":
            advice = "; model.match=parameters or model.match=flops brings them together"
        elif match in _MATCHED:
            counts, advice = [_MATCHED[match]], "; a larger model.width comes closer"
        percents = {name: group.mismatch(name, baseline) for name in counts}
        parts = [
            f"{abs(percent):.1f} % {'more' if percent > 0 else 'fewer'} {_COUNTS[name]}"
            for name, percent in percents.items()
            if abs(percent) > MISMATCH
        ]
        if parts:
            alike.setdefault((" and ".join(parts), advice), []).append(group)
    found = []
    for (text, advice), members in alike.items():
        *names, of_baseline = _shorten_labels(members, groups)
        have = "has" if len(names) == 1 else "have"
        found.append(f"{_join_first(names)} {have} {text} than {of_baseline}{advice}")
    return found


def _shorten_labels(members: Sequence[Group], groups: Sequence[Group]) -> list[str]:
    """Names of some groups, then of the baseline: by one key, if its values alone set these apart from all others."""
    inside, baseline = {id(group) for group in members}, groups[0]
    others = [group for group in groups if id(group) not in inside]
    if len(members) > 1:
        for key in baseline.settings:
            values = [format_value(group.settings.get(key)) for group in members]
            if not set(values) & {format_value(group.settings.get(key)) for group in others}:
                names = [*dict.fromkeys(values), format_value(baseline.settings[key])]
                return [f"{key}={name}" for name in names]
    return [*(group.label for group in members), baseline.label]


def _join_first(names: Sequence[str]) -> str:
    """The first of some names in words, with semicolons where a name has commas."""
    shown = [*names[:_NAMED], *([f"{len(names) - _NAMED} more"] if len(names) > _NAMED else [])]
    return join_names(shown, "; " if any(", " in name for name in shown) else ", ")


def _warn_of_one_class(runs: Sequence[Run]) -> list[str]:
    """Runs in which the masks of one class alone overlap with the true ones, though others are to be found."""
    alone: dict[str, list[str]] = {}
    for run in runs:
        columns = [str(name) for name in run.images if str(name).startswith("iou/") and name != "iou/mean"]
        there = [name for name in columns if run.images[name].notna().any()]
        found = [name for name in there if (run.images[name] > 0).any()]
        if len(there) > 1 and len(found) == 1:
            alone.setdefault(found[0].removeprefix("iou/"), []).append(run.folder.name)
    return [
        f"{_list_first(names)} {'finds' if len(names) == 1 else 'find'} the class {word} alone: all others have IoU 0 "
        "on all test images"
        for word, names in alone.items()
    ]


def _warn_of_conditions(runs: Sequence[Run]) -> list[str]:
    def version(package: str) -> list[str]:
        return [str((run.summary.versions or {}).get(package, "unknown")) for run in runs]

    conditions = {
        "devices": [str(run.summary.device) for run in runs],
        "numbers of devices": [format_value(run.config.get("trainer.devices")) for run in runs],
        "numbers of nodes": [format_value(run.config.get("trainer.num_nodes", 1)) for run in runs],
        "precisions": [str(run.summary.precision) for run in runs],
        "commits of the code": [format_commit(run) for run in runs],
        "versions of unet-exp": version("unet-exp"),
        "versions of torch": version("torch"),
    }
    different = {name: sorted(set(values)) for name, values in conditions.items() if len(set(values)) > 1}
    found = [f"the runs are of different {name}: {', '.join(values)}" for name, values in different.items()]
    changed = sum(run.summary.git is not None and run.summary.git.changed for run in runs)
    if changed:
        found.append(f"{changed} of {format_count(len(runs), 'run')} had changes in the code beyond its commit")
    return found
