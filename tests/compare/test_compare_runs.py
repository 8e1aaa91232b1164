"""Groups of runs, the differences between them, and what is said of these."""

import math
from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sweeps_on_disk import ADD, CONCAT, NONE, run_in_memory, runs_of

from unet_exp.compare.collect import Run
from unet_exp.compare.comparison import Comparison, compare_runs
from unet_exp.compare.plots import plot_intervals
from unet_exp.errors import ConfigError


def two(first: Mapping[Any, float], second: Mapping[Any, float], **words: Any) -> Comparison:
    return compare_runs([*runs_of(CONCAT, first), *runs_of(ADD, second)], **words)


def test_a_difference_worked_by_hand() -> None:
    comparison = two({0: 0.5, 1: 0.6, 2: 0.7, 3: 0.1}, {0: 0.6, 1: 0.8, 2: 1.0, 9: 0.9}, alpha=0.25)
    (difference,) = comparison.differences
    assert difference.pairs == 3
    assert difference.mean == pytest.approx(0.2)
    assert 0.1 - 1e-12 <= difference.low < 0.2 < difference.high <= 0.3 + 1e-12
    assert (difference.p, difference.p_holm, difference.smallest_p) == (0.25, 0.25, 0.25)
    assert difference.effect == pytest.approx(2 / math.sqrt(math.pi))
    assert (difference.verdict, difference.pairs_for_significance) == ("better", 3)
    assert difference.sentence == (
        "fusion=add is better than fusion=concat: difference +0.2000 in iou/mean, "
        f"95 % interval {difference.low:+.4f} to {difference.high:+.4f}, 3 pairs, p = 0.25"
    )
    assert "(seed=3; seed=9) count in the mean of their group" in comparison.warnings[0]


NOISE = {seed: 0.5 + offset for seed, offset in enumerate([0.01, -0.02, 0.015, 0.0, -0.01, 0.02, -0.015, 0.005])}
FLAT = dict.fromkeys(NOISE, 0.5)


@pytest.mark.parametrize(
    ("scores", "verdict", "sentence"),
    [
        ({s: x + 0.1 for s, x in NOISE.items()}, "better", "is better than fusion=concat: difference +0.1006"),
        ({s: x - 0.1 for s, x in NOISE.items()}, "worse", "is worse than fusion=concat: difference -0.0994"),
        (NOISE, "not distinguishable", "is not distinguishable from fusion=concat: difference +0.0006"),
        (FLAT, "identical", "is identical to fusion=concat: the same iou/mean in 8 pairs"),
        ({0: 0.6, 1: 0.7}, "too few pairs", "has too few pairs with fusion=concat for a verdict: difference +0.1500"),
        ({77: 0.6}, "no pairs", "cannot be compared with fusion=concat: their runs have no seed and fold in common"),
    ],
)
def test_verdicts(scores: dict[int, float], verdict: str, sentence: str) -> None:
    comparison = two(FLAT, scores)
    (difference,) = comparison.differences
    assert difference.verdict == verdict
    assert difference.sentence.startswith(f"fusion=add {sentence}")
    assert comparison.table()["verdict"].tolist() == ["baseline", verdict]


def test_too_few_pairs_say_how_many_are_needed() -> None:
    comparison = compare_runs(
        [*runs_of(CONCAT, {0: 0.5, 1: 0.5}), *runs_of(ADD, {0: 0.6, 1: 0.7}), *runs_of(NONE, {0: 0.1})]
    )
    assert comparison.differences[0].sentence.endswith(", 2 pairs, at least 7 are needed")
    assert comparison.warnings[0].endswith("spread: fusion=none")


@pytest.mark.parametrize(
    ("pairs", "shift", "told"),
    [
        (3, 0.007, "3 pairs, at least 6 are needed"),
        (5, 0.007, "5 pairs, at least 6 are needed"),
        (8, 0.007, "; about {} pairs would find an effect of this size in 4 of 5 cases"),
        (8, 0.0, "; it takes more than 1,000 pairs to find an effect of this size in 4 of 5 cases"),
    ],
)
def test_pairs_that_would_find_the_effect_are_said_where_a_verdict_was_possible(
    pairs: int, shift: float, told: str
) -> None:
    few = {seed: score + shift for seed, score in list(NOISE.items())[:pairs]}
    (difference,) = two(FLAT, few).differences
    wanted = difference.pairs_for_power
    assert wanted is not None
    assert difference.sentence.endswith(told.format(wanted))
    assert ("95 % interval" in difference.sentence) == (pairs >= 6)


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        (0.0, ["run-{} finds the class membrane alone: all others have IoU 0 on all test images"]),
        (0.1, []),
        (math.nan, []),  # there is none
    ],
)
def test_runs_that_predict_one_class_alone_are_named(cell: float, told: list[str]) -> None:
    runs = [*runs_of(CONCAT, FLAT), *runs_of(ADD, FLAT)]
    runs[3].images["iou/cell"] = [cell, math.nan]
    for run in runs:
        run.images["iou/membrane"] = 0.6
    said = [warning for warning in compare_runs(runs).warnings if "alone" in warning]
    assert said == [warning.format(runs[3].folder.name.removeprefix("run-")) for warning in told]


def test_no_number_of_pairs_finds_no_effect() -> None:
    (difference,) = two(FLAT, {seed: 0.6 if seed % 2 else 0.4 for seed in FLAT}).differences
    assert difference.verdict == "not distinguishable"
    assert difference.pairs_for_power is None
    assert difference.sentence.endswith("8 pairs, p = 1")


def test_a_level_that_drawn_patterns_cannot_reach() -> None:
    many = dict.fromkeys(range(20), 0.5)
    (difference,) = two(many, dict.fromkeys(many, 0.6), alpha=1e-5).differences
    assert difference.p == difference.smallest_p == 2 / 20_001
    assert difference.verdict == "too few pairs"
    assert "20 pairs, and no number is enough at this alpha" in difference.sentence


def test_a_pair_is_compared_on_the_images_that_both_have_scores_for() -> None:
    before = run_in_memory({"seed": 0, **CONCAT}, {"a": 0.2, "b": 0.6, "c": math.nan})
    after = run_in_memory({"seed": 0, **ADD}, {"a": math.nan, "b": 0.7, "c": 0.9})
    apart = [run_in_memory({"seed": 1, **CONCAT}, {"a": 0.5, "b": math.nan, "c": math.nan})]
    apart += [run_in_memory({"seed": 1, **ADD}, {"a": math.nan, "b": 0.5, "c": math.nan})]
    (difference,) = compare_runs([before, after, *apart]).differences
    assert difference.pairs == 1
    assert difference.gains == pytest.approx([0.1])
    assert difference.group.pair_scores("iou/mean")[0, None] == pytest.approx(0.8)


def test_losses_of_different_functions_are_not_compared() -> None:
    runs = [
        run_in_memory({"seed": seed, "loss.name": "border_weighted", "loss.w0": w0}, {"a": 0.5})
        for seed, w0 in product(range(2), (5.0, 10.0))
    ]
    with pytest.raises(ConfigError, match=r"metric=loss: .* different losses \(loss.w0 varies\).*metric=iou/mean$"):
        compare_runs(runs, metric="test/loss")
    assert compare_runs(runs).losses_differ
    assert not two({0: 0.5}, {0: 0.5}, metric="loss").losses_differ


def test_several_differences_are_adjusted_together() -> None:
    better = {seed: score + 0.1 for seed, score in NOISE.items()}
    comparison = compare_runs([*runs_of(CONCAT, FLAT), *runs_of(ADD, better), *runs_of(NONE, NOISE)])
    first, second = comparison.differences
    assert (first.p, first.p_holm) == (2 / 256, 4 / 256)
    assert second.p_holm == second.p
    assert first.sentence.endswith("p = 0.016 (Holm)")


@pytest.mark.parametrize("metric", ["loss", "test/loss", "rand_error", "rand_error_at_val", "v_rand_at_val"])
def test_errors_and_losses_are_better_when_smaller(metric: str) -> None:
    runs = [*runs_of(CONCAT, FLAT), *runs_of(ADD, {seed: score + 0.1 for seed, score in NOISE.items()})]
    for run in runs:
        run.images["rand_error"] = run.images["rand_error_at_val"] = run.images["loss"]
        run.images["v_rand_at_val"] = run.images["iou/mean"]
    comparison = compare_runs(runs, metric=metric)
    assert comparison.higher_is_better == metric.startswith("v_rand")
    (difference,) = comparison.differences
    assert difference.verdict == "better"
    assert ("(lower is better)" in difference.sentence) == (difference.mean < 0)


@pytest.mark.parametrize("column", ["iou/forest_loss", "dice/error", "iou/loss"])
def test_a_class_may_have_the_name_of_a_loss(column: str) -> None:
    words = {"optimizer.lr": 0.1}, {"optimizer.lr": 0.01}
    runs = [*runs_of(words[0], FLAT), *runs_of(words[1], {seed: score + 0.1 for seed, score in NOISE.items()})]
    for run in runs:
        run.images[column] = run.images["iou/mean"]
    absent = run_in_memory({"seed": 99, **words[1]}, {"a": 0.5, "b": 0.6})
    absent.images[column] = [math.nan, 0.6]
    comparison = compare_runs([*runs, absent], metric=f"test/{column}")
    assert comparison.excluded == [], "a class that an image lacks is no loss that is not finite"
    (difference,) = comparison.differences
    assert (difference.group.settings, difference.verdict) == ({"optimizer.lr": 0.01}, "better")
    assert difference.sentence.startswith("optimizer.lr=0.01 is better than optimizer.lr=0.1: difference +")
    assert "lower is better" not in difference.sentence
    (_, shown) = plot_intervals(comparison)
    assert "right of the dashed line is better" in shown.caption


def test_scores_of_a_class_are_compared_between_losses() -> None:
    runs = [*runs_of({"loss.name": "dice"}, FLAT), *runs_of({"loss.name": "focal"}, NOISE)]
    for run in runs:
        run.images["iou/forest_loss"] = run.images["iou/mean"]
    assert compare_runs(runs, metric="iou/forest_loss").losses_differ


def test_a_column_that_is_no_score_is_not_compared() -> None:
    runs = [*runs_of(CONCAT, FLAT), *runs_of(ADD, NOISE)]
    for run in runs:
        run.images["my_error"] = run.images["iou/mean"]
    with pytest.raises(ConfigError, match=r"^my_error: there is no such score; the scores are loss"):
        compare_runs(runs, metric="my_error")


def test_small_differences_keep_two_digits() -> None:
    runs = [*runs_of(CONCAT, FLAT), *runs_of(ADD, FLAT)]
    for number, run in enumerate(runs):
        run.images["warping_error"] = 0.0005 + (number >= 8) * (0.00003 + number * 1e-6)
    (difference,) = compare_runs(runs, metric="warping_error").differences
    assert difference.sentence.startswith(
        "fusion=add is worse than fusion=concat: difference +0.000042 in warping_error (lower is better), "
        "95 % interval +0.00004"
    )


@pytest.mark.slow
@settings(deadline=None, max_examples=20)
@given(st.dictionaries(st.integers(0, 9), st.floats(0.2, 0.8).map(lambda x: round(x, 3)), min_size=1), st.randoms())
def test_the_order_of_the_runs_changes_nothing_and_swapping_groups_changes_signs(
    scores: dict[int, float], random: Any
) -> None:
    runs = [*runs_of(CONCAT, dict.fromkeys(range(10), 0.5)), *runs_of(ADD, scores)]
    here = compare_runs(runs, baseline="concat").differences[0]
    random.shuffle(runs)
    again, back = (
        compare_runs(runs, baseline="concat").differences[0],
        compare_runs(runs, baseline="add").differences[0],
    )
    assert again.sentence == here.sentence
    assert (back.mean, back.p, back.pairs) == (pytest.approx(-here.mean), here.p, here.pairs)
    assert {"better": "worse", "worse": "better"}.get(here.verdict, here.verdict) == back.verdict


def test_the_table_has_costs_and_what_mismatch_remains() -> None:
    concat = runs_of(CONCAT, FLAT, parameters=1000, macs=2000, seconds_training=60.0, peak_memory=10)
    add = runs_of(ADD, NOISE, parameters=900, macs=2010, seconds_training=90.0, peak_memory=30)
    comparison = compare_runs([*concat, *add])
    base, other = comparison.table().to_dict("records")
    assert (base["label"], base["settings"], base["runs"]) == ("fusion=concat", "fusion=concat", 8)
    assert base["verdict"] == "baseline"
    assert pd.isna(base["difference"])
    assert pd.isna(base["p_holm"])
    assert (other["parameters"], other["macs"], other["minutes"], other["peak_memory"]) == (900, 2010, 1.5, 30)
    assert (other["parameters_mismatch"], other["macs_mismatch"]) == (pytest.approx(-10), pytest.approx(0.5))
    assert other["difference"] == comparison.differences[0].mean
    assert other["pairs"] == 8
    assert comparison.warnings == [
        "fusion=add has 10.0 % fewer parameters than fusion=concat; "
        "model.match=parameters or model.match=flops brings them together"
    ]


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ({"device": "cuda:0"}, "the runs are of different devices: cpu, cuda:0"),
        ({"precision": "bf16-mixed"}, "the runs are of different precisions: 32, bf16-mixed"),
        ({"git": {"commit": "1" * 40, "changed": False}}, "the runs are of different commits of the code: 00000"),
        (
            {"versions": {"torch": "2.8.0", "unet-exp": "0.1.0"}},
            "the runs are of different versions of torch: 2.7.0, 2.8.0",
        ),
        (
            {"versions": {"torch": "2.7.0", "unet-exp": "0.2.0"}},
            "the runs are of different versions of unet-exp: 0.1.0, 0.2.0",
        ),
        ({"git": None}, "the runs are of different commits of the code: 0000000000, unknown"),
        ({"git": {"commit": "0" * 40, "changed": True}}, "8 of 16 runs had changes in the code beyond its commit"),
    ],
)
def test_runs_of_different_circumstances_are_warned_of(odd: dict[str, Any], said: str) -> None:
    comparison = compare_runs([*runs_of(CONCAT, FLAT), *runs_of(ADD, NOISE, **odd)])
    assert len(comparison.warnings) == 1
    assert comparison.warnings[0].startswith(said)


def test_another_number_of_devices_is_warned_of() -> None:
    comparison = compare_runs([*runs_of(CONCAT, FLAT), *runs_of({**ADD, "trainer.devices": 2}, NOISE)])
    assert comparison.warnings == ["the runs are of different numbers of devices: 1, 2"]


@pytest.mark.parametrize(
    ("config", "other", "counts", "warned"),
    [
        (
            {"model.match": "none"},
            ADD,
            {"parameters": 900, "macs": 1800},
            "fusion=add has 10.0 % fewer parameters and 10.0 % fewer MACs than fusion=concat; "
            "model.match=parameters or model.match=flops brings them together",
        ),
        (
            {"model.match": "parameters"},
            ADD,
            {"parameters": 1050, "macs": 1800},
            "fusion=add has 5.0 % more parameters than fusion=concat; a larger model.width comes closer",
        ),
        (
            {"model.match": "flops"},
            ADD,
            {"parameters": 900, "macs": 2100},
            "fusion=add has 5.0 % more MACs than fusion=concat; a larger model.width comes closer",
        ),
        ({"model.match": "parameters"}, ADD, {"parameters": 1010, "macs": 1800}, None),
        # what differs in more than the fusion is not brought together by it
        (
            {"model.match": "none"},
            {**ADD, "model.width": 99},
            {"parameters": 900, "macs": 2000},
            "model.width=99, fusion=add has 10.0 % fewer parameters than model.width=16, fusion=concat",
        ),
        (
            {"model.match": "none"},
            {**ADD, "model.match": "flops"},
            {"parameters": 900, "macs": 2000},
            "model.match=flops, fusion=add has 10.0 % fewer parameters than model.match=none, fusion=concat",
        ),
    ],
)
def test_advice_on_a_mismatch_is_given_where_it_helps(
    config: dict[str, Any], other: dict[str, Any], counts: dict[str, int], warned: str | None
) -> None:
    runs = [
        *runs_of({"model.width": 16, **config, **CONCAT}, FLAT, parameters=1000, macs=2000),
        *runs_of({"model.width": 16, **config, **other}, NOISE, **counts),
    ]
    assert compare_runs(runs).warnings == ([] if warned is None else [warned])


def test_a_cost_that_is_not_known_is_left_out() -> None:
    comparison = compare_runs([*runs_of(CONCAT, FLAT), *runs_of(ADD, NOISE, macs=None, seconds_training=None)])
    assert comparison.table()[["macs", "minutes", "macs_mismatch"]].isna().iloc[1].all()
    assert comparison.warnings == []


# ---- the whole, on simulated sweeps


def simulated_sweep(rng: np.random.Generator, gains: Mapping[str, float]) -> list[Run]:
    """3 seeds x 4 folds; a fold and its 6 images are as hard for every variant, a run and its images vary."""
    fold_effects, image_effects = rng.normal(0, 0.03, 4), rng.normal(0, 0.05, (4, 6))
    runs = []
    for (word, gain), seed, fold in product(gains.items(), range(3), range(4)):
        images = 0.7 + gain + fold_effects[fold] + image_effects[fold] + rng.normal(0, 0.02, 6) + rng.normal(0, 0.01)
        config = {"fusion.name": word, "seed": seed, "data.fold": fold, "data.folds": 4}
        runs.append(run_in_memory(config, pd.DataFrame({"iou/mean": images}, index=list("abcdef"))))
    return runs


def claims(gains: Mapping[str, float], sweeps: int, seed: int) -> list[list[str]]:
    """The verdicts of each simulated sweep."""
    rng = np.random.default_rng(seed)
    comparisons = [compare_runs(simulated_sweep(rng, gains)) for _ in range(sweeps)]
    return [[difference.verdict for difference in comparison.differences] for comparison in comparisons]


@pytest.mark.slow
def test_equal_variants_are_told_apart_in_no_more_than_one_sweep_of_twenty() -> None:
    sweeps = 100
    verdicts = claims(dict.fromkeys(("concat", "add", "none"), 0.0), sweeps, seed=3)
    false_alarms = sum(bool({"better", "worse"} & set(of_sweep)) for of_sweep in verdicts)
    # 5 % of 100 are 5; with an honest test 11 are exceeded in less than one series of 100.
    assert false_alarms <= stats.binom.ppf(0.99, sweeps, 0.05)


@pytest.mark.slow
def test_a_true_difference_is_found() -> None:
    verdicts = claims({"concat": 0.0, "add": 0.03, "none": -0.03}, sweeps=15, seed=0)
    assert np.mean([of_sweep == ["better", "worse"] for of_sweep in verdicts]) >= 0.9


# ---- distances


def of_distances(variant: Mapping[str, Any], seeds: Mapping[int, tuple[float, int]]) -> list[Run]:
    """A run for each seed: its Hausdorff distance, and in how many of two images a mask is missed."""
    return [
        run_in_memory(
            {**variant, "seed": seed},
            pd.DataFrame(
                {
                    "hausdorff95/cell": [distance, distance if missed == 0 else math.nan],
                    "surface_dice/cell": [0.5, 0.5 if missed == 0 else 0],
                    "distances_undefined/cell": [0.0, float(missed)],
                },
                index=["a", "b"],
            ),
        )
        for seed, (distance, missed) in seeds.items()
    ]


SEEDS = range(8)


@pytest.mark.parametrize("missed", [0, 1])
def test_masks_that_one_group_misses_are_warned_of_under_a_distance(missed: int) -> None:
    runs = [
        *of_distances(CONCAT, {seed: (3 + seed / 9, 0) for seed in SEEDS}),
        *of_distances(ADD, {seed: (1 + seed / 8, missed) for seed in SEEDS}),
    ]
    warnings = compare_runs(runs, metric="hausdorff95/cell").warnings
    assert [warning.partition(":")[0] for warning in warnings] == [
        "hausdorff95/cell leaves out images with one empty mask, of which the groups have different shares (fusion"
        "=concat 0; fusion=add 0.5)"
    ][: 1 * missed]
    assert compare_runs(runs, metric="surface_dice/cell").warnings == []


def test_a_tolerance_separates_runs_under_the_surface_dice_alone_and_where_it_chooses_the_epoch() -> None:
    def kept(metric: str, monitor: str) -> tuple[int, int]:
        runs = [
            run
            for tolerance, first in ((1.0, 0), (2.0, 20))
            for run in of_distances(
                {**CONCAT, "metrics.tolerance": tolerance, "trainer.monitor": monitor},
                {first + seed: (3.0, 0) for seed in range(2)},
            )
        ]
        comparison = compare_runs(runs, metric=metric)
        return len(comparison.groups), len(comparison.excluded)

    assert kept("hausdorff95/cell", "val/iou/mean") == (1, 0)
    assert kept("hausdorff95/cell", "val/surface_dice/mean") == (2, 0)
    assert kept("surface_dice/cell", "val/iou/mean") == (1, 2)
