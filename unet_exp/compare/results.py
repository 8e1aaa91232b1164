"""The result of a comparison: groups of runs, the differences between them, and the table of both."""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import pandas as pd

from unet_exp.compare.collect import Excluded, Run
from unet_exp.compare.settings import format_value
from unet_exp.metrics.declarations import Direction

Verdict = Literal["better", "worse", "not distinguishable", "identical", "too few pairs", "no pairs"]
Pairing = tuple[int, int | None]
"""Seed and fold: what the runs of a pair share."""


@dataclass(frozen=True)
class Estimate:
    """The chosen metric over `n` runs: mean, std (ddof 1), ends of the 95 % bootstrap interval; nan for one run."""

    n: int
    mean: float
    std: float
    low: float
    high: float


@dataclass(frozen=True)
class Group:
    """Runs that differ only in seed and fold.

    Attributes:
        label: `fusion=add` or `fusion=add, model=same`; `all runs` if nothing varies.
        settings: the varying keys and their values, as typed words: `{"fusion": "add"}`.
        runs: one per seed and fold, in that order.
        scores: indexed by (seed, fold), one row per run, one column per metric: the mean over the run's images,
            undefined ones left out. Fold is nan without folds.
        estimate: of the chosen metric.
    """

    label: str
    settings: dict[str, Any]
    runs: list[Run]
    scores: pd.DataFrame
    estimate: Estimate

    def pair_scores(self, metric: str) -> dict[Pairing, float]:
        """The runs' scores by seed and fold."""
        return {(run.seed, run.fold): float(x) for run, x in zip(self.runs, self.scores[metric], strict=True)}

    def gains(self, baseline: "Group", metric: str) -> list[float]:
        """This group's scores minus the baseline's, one for each pair of runs with the same seed and fold.

        The mean over the images whose score is defined in both runs; no pair where there are none.
        """
        partners = {(run.seed, run.fold): run for run in baseline.runs}
        found = [
            float((run.images[metric] - partners[run.seed, run.fold].images[metric]).mean())
            for run in self.runs
            if (run.seed, run.fold) in partners
        ]
        return [gain for gain in found if not math.isnan(gain)]

    def cost(self, key: str) -> float:
        """The mean of a number in the runs' summaries; nan where a run lacks it."""
        values = [getattr(run.summary, key) for run in self.runs]
        numbers = [value for value in values if isinstance(value, int | float)]
        return math.fsum(numbers) / len(numbers) if len(numbers) == len(values) else math.nan

    def mismatch(self, key: str, baseline: "Group") -> float:
        """Percent by which a cost exceeds the baseline's; nan where one is unknown."""
        own, other = self.cost(key), baseline.cost(key)
        return 100 * (own / other - 1) if other else math.nan


@dataclass(frozen=True)
class Difference:
    """A group minus the baseline in the chosen metric, over the pairs of runs with the same seed and fold.

    Attributes:
        gains: of each pair; see `Group.gains`.
        mean: of the gains; nan without pairs.
        low: lower end of its 95 % bootstrap interval, `high` the upper one; nan for fewer than two pairs.
        p: of the two-sided sign-flip test; nan without pairs.
        p_holm: the same, Holm-adjusted over the differences of the comparison.
        effect: d_z with Hedges' correction; nan for fewer than three pairs.
        smallest_p: the least p for so many pairs.
        pairs_for_significance: the fewest pairs that can be significant among so many differences; None if none can.
        pairs_for_power: pairs for a power of 0.8 if the effect is real; None if unknown or beyond reach.
        sentence: the verdict with its numbers.
    """

    group: Group
    gains: list[float]
    pairs: int
    mean: float
    low: float
    high: float
    p: float
    p_holm: float
    effect: float
    smallest_p: float
    pairs_for_significance: int | None
    pairs_for_power: int | None
    verdict: Verdict
    sentence: str

    @property
    def is_testable(self) -> bool:
        """Whether there are enough pairs for p to be small."""
        return self.verdict in ("better", "worse", "not distinguishable") or (
            self.pairs_for_significance is not None and self.pairs >= self.pairs_for_significance
        )


@dataclass(frozen=True)
class Comparison:
    """The result of `compare_runs`.

    Attributes:
        metric: the chosen metric, a column of `Group.scores`.
        reason: why it was chosen; empty if somebody has typed it.
        direction: whether its best value is the smallest or the largest.
        groups: the baseline first, then in the order of their first runs.
        differences: one for each other group, in the order of `groups`.
        varying: the keys that differ between groups, as typed.
        warnings: a sentence each.
        alpha: the level of significance.
    """

    metric: str
    reason: str
    direction: Direction
    groups: list[Group]
    baseline: Group
    differences: list[Difference]
    varying: list[str]
    excluded: list[Excluded]
    warnings: list[str]
    alpha: float

    @property
    def higher_is_better(self) -> bool:
        """Which way the metric is better."""
        return self.direction == "max"

    @property
    def memory_is_comparable(self) -> bool:
        """Whether the peaks of the runs can be compared: on a CPU a process keeps memory of its earlier trainings."""
        runs = (run.summary for group in self.groups for run in group.runs)
        return not any(run.trainings_before and str(run.device).startswith("cpu") for run in runs)

    @property
    def losses_differ(self) -> bool:
        """Whether groups are trained with losses whose values cannot be compared."""
        return any(key.partition(".")[0] == "loss" for key in self.varying)

    def select_best(self, most: int) -> "Comparison":
        """The baseline and the groups with the best means, so many in all, in their order; tested among all groups."""
        sign = -1 if self.higher_is_better else 1
        means = [(sign * difference.group.estimate.mean, difference) for difference in self.differences]
        # nan, which has no order, comes last.
        others = [found for _, found in sorted(means, key=lambda pair: (math.isnan(pair[0]), pair[0]))]
        best = {id(difference) for difference in others[: most - 1]}
        differences = [difference for difference in self.differences if id(difference) in best]
        return replace(self, groups=[self.baseline, *(found.group for found in differences)], differences=differences)

    def list_runs(self) -> pd.DataFrame:
        """One row per run, the excluded ones last: folder, group, seed, fold, its score, and why it is excluded."""
        columns = ["run", "group", "seed", "fold", self.metric, "excluded"]
        compared = [
            (run.folder, group.label, run.seed, run.fold, score, "")
            for group in self.groups
            for run, score in zip(group.runs, group.scores[self.metric], strict=True)
        ]
        excluded = [(run.folder, "", None, None, None, run.reason) for run in self.excluded]
        return pd.DataFrame([*compared, *excluded], columns=columns).astype({"seed": "Int64", "fold": "Int64"})

    def table(self) -> pd.DataFrame:
        """One row per group: its settings, estimate, difference from the baseline, cost and verdict.

        `parameters`, `macs` (of one training input), `minutes` of training and `peak_memory` (bytes) are means over the
        runs; `..._mismatch` is in percent of the baseline's. The baseline's own difference is empty.
        """
        rows = zip(self.groups, [None, *self.differences], strict=True)
        return pd.DataFrame([self._row(group, difference) for group, difference in rows])

    def _row(self, group: Group, difference: Difference | None) -> dict[str, Any]:
        fields = ("pairs", "p", "p_holm", "effect", "smallest_p", "pairs_for_significance", "pairs_for_power")
        estimate = group.estimate
        return {
            "label": group.label,
            "settings": " ".join(f"{key}={format_value(value)}" for key, value in group.settings.items()),
            "runs": estimate.n,
            **{field: getattr(estimate, field) for field in ("mean", "std", "low", "high")},
            "difference": getattr(difference, "mean", None),
            "difference_low": getattr(difference, "low", None),
            "difference_high": getattr(difference, "high", None),
            **{field: getattr(difference, field, None) for field in fields},
            "parameters": group.cost("parameters"),
            "macs": group.cost("macs"),
            "minutes": group.cost("seconds_training") / 60,
            "peak_memory": group.cost("peak_memory"),
            "parameters_mismatch": group.mismatch("parameters", self.baseline),
            "macs_mismatch": group.mismatch("macs", self.baseline),
            "verdict": difference.verdict if difference else "baseline",
        }
