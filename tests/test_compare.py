import json
import math
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sweeps_on_disk import run_in_memory, write_run, write_sweep

from unet_exp.compare.collect import Run, collect
from unet_exp.compare.comparison import Comparison, compare
from unet_exp.errors import ConfigError, DataError

CONCAT, ADD, NONE = ({"fusion.name": word} for word in ("concat", "add", "none"))


def runs_of(variant: Mapping[str, Any], scores: Mapping[Any, float], **summary: Any) -> list[Run]:
    """A run a score, keyed by seed or by (seed, fold of 4)."""
    made = []
    for key, score in scores.items():
        seed, fold = key if isinstance(key, tuple) else (key, None)
        of_fold = {"data.fold": fold or 0, "data.folds": 0 if fold is None else 4}
        made.append(
            run_in_memory({**of_fold, **variant, "seed": seed}, {"a": score - 0.1, "b": score + 0.1}, **summary)
        )
    return made


def two(first: Mapping[Any, float], second: Mapping[Any, float], **words: Any) -> Comparison:
    return compare([*runs_of(CONCAT, first), *runs_of(ADD, second)], **words)


def reasons(comparison: Comparison) -> list[str]:
    return [item.reason for item in comparison.apart]


# ---- collecting


def test_a_sweep_is_found_from_itself_from_above_and_by_globs_and_each_run_counts_once(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "out" / "sweep" / "one", [CONCAT, ADD], seeds=2)
    single = write_run(tmp_path / "out" / "train" / "single")
    for places, count in [
        ([sweep], 4),
        ([single], 1),
        ([tmp_path / "out"], 5),
        ([str(sweep / "fusion=add*")], 2),
        ([str(tmp_path / "**" / "*seed=0")], 2),
        ([str(sweep / "*")], 4),  # sweep.json matches too
        ([sweep, single, tmp_path, str(sweep / "*")], 5),
    ]:
        runs, apart = collect(places)
        assert (len(runs), apart) == (count, [])


def test_runs_are_ordered_by_their_start_and_read_whole(tmp_path: Path) -> None:
    scores = pd.DataFrame({"loss": [0.5, 0.25], "iou/mean": [0.5, math.nan]}, index=["NA", "002"])
    write_run(tmp_path / "a", {"seed": 7, "data.fold": 2, "data.folds": 3}, scores, started="2026-02-02T00:00:00")
    write_run(tmp_path / "b", {"seed": 8}, started="2026-02-01T00:00:00")
    earlier, run = collect([tmp_path])[0]
    assert (earlier.folder, earlier.fold, run.folder) == (tmp_path / "b", None, tmp_path / "a")
    assert (run.seed, run.fold, run.config["data.folds"]) == (7, 2, 3)
    pd.testing.assert_frame_equal(run.images, scores.rename_axis("image"))
    assert run.history["train/loss"].notna().all()


def test_a_real_run_is_read_and_compared(finished: Any) -> None:
    runs, apart = collect([finished.path])
    assert (len(runs), apart) == (1, [])
    comparison = compare(runs)
    (group,) = comparison.groups
    assert group.label == "all runs"
    assert group.estimate.mean == pytest.approx(json.loads(finished.summary.read_text())["metrics"]["test/iou/mean"])
    assert comparison.table()["parameters"].tolist() == [runs[0].summary["parameters"]]


def test_nothing_inside_a_run_is_taken_for_a_run(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (run / "wandb" / "files").mkdir(parents=True)
    (run / "wandb" / "files" / "config.yaml").write_text("{}")
    write_run(tmp_path / ".hidden" / "run")
    assert [found.folder for found in collect([tmp_path])[0]] == [run]


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("nowhere", "there is no such folder"),
        ("no*thing", "there is no such folder"),
        ("empty", "no run is in there"),
        ("file.txt", "is a file"),
        ("file*", "no run is in there"),
    ],
)
def test_a_place_without_runs_is_told(tmp_path: Path, place: str, said: str) -> None:
    write_run(tmp_path / "run")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("")
    with pytest.raises(DataError, match=said) as mistake:
        collect([tmp_path / "run", str(tmp_path / place)])
    assert place in str(mistake.value)
    assert "\n" not in str(mistake.value)


def _summary(**values: Any) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        path = folder / "summary.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


def _file(name: str, content: str | bytes | None) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        path = folder / name
        path.unlink()
        if content is not None:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return change


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_summary(status="running"), "not finished: still running, or killed"),
        (_summary(status="failed", error="DataError: no\nimages"), "failed: DataError: no images"),
        (_summary(status="failed", error="long " * 100), "failed: long long"),
        (_summary(status="stopped", error="interrupted"), "stopped: interrupted"),
        (_summary(status="stopped", error="pruned", pruned_at=120), "pruned by the search at step 120"),
        (_summary(status=None), "not finished: no reason is recorded"),
        (_summary(checkpoint="best.ckpt"), "an evaluation; only trainings are compared"),
        (_summary(data_fingerprint=None), "summary.json is damaged: it lacks"),
        (_summary(split={"test": None}), "summary.json is damaged: it lacks"),
        (_summary(split={"test": ["other"]}), "per_image.csv is damaged: 3 rows for 1 test images"),
        (_file("summary.json", None), "summary.json is missing or damaged"),
        (_file("summary.json", '{"status": "fin'), "summary.json is missing or damaged"),
        (_file("summary.json", b"\xff\xfe\x00"), "summary.json is missing or damaged"),
        (_file("summary.json", "[]"), "summary.json is damaged: it is no object"),
        (_file("config.yaml", None), "config.yaml is missing or damaged"),
        (_file("config.yaml", "a: [1"), "config.yaml is missing or damaged"),
        (_file("config.yaml", b"\xff\xfe\x00"), "config.yaml is missing or damaged"),
        (_file("config.yaml", "only text"), "config.yaml is damaged: it lacks seed"),
        (_file("config.yaml", "seed: many"), "config.yaml is damaged: it lacks seed"),
        (_file("per_image.csv", "image,loss\nt_0,0.1\nt_1,0.1\n"), "per_image.csv is damaged: 2 rows for 3 test"),
        (_file("per_image.csv", "image,loss\nt_0,much\n"), "per_image.csv is damaged"),
        (_file("per_image.csv", 'image,loss\nt_0,"0.1\n'), "per_image.csv is damaged"),
        (_file("per_image.csv", "picture,loss\nt_0,0.1\n"), "per_image.csv is damaged"),
        (_file("per_image.csv", b"\xff\xfe\x00"), "per_image.csv is damaged"),
        (_file("per_image.csv", ""), "per_image.csv is damaged"),
        (_file("metrics.csv", "epoch,step\n0,1,2,3\n0,1\n"), "metrics.csv is damaged"),
        (_file("metrics.csv", ""), "metrics.csv is damaged"),
    ],
)
def test_a_run_that_is_unfinished_or_damaged_is_set_apart(
    tmp_path: Path, damage: Callable[[Path], object], reason: str
) -> None:
    write_run(tmp_path / "good")
    damage(write_run(tmp_path / "bad"))
    runs, (apart,) = collect([tmp_path])
    assert [run.folder.name for run in runs] == ["good"]
    assert apart.folder == tmp_path / "bad"
    assert apart.reason.startswith(reason)
    assert "\n" not in apart.reason
    assert len(apart.reason) < 200


def test_a_run_without_a_history_can_be_compared_and_one_without_scores_cannot(tmp_path: Path) -> None:
    _file("metrics.csv", None)(write_run(tmp_path / "no history"))
    _file("per_image.csv", None)(write_run(tmp_path / "no scores", {"seed": 1}))
    comparison = compare(*collect([tmp_path]))
    assert [run.folder.name for run in comparison.baseline.runs] == ["no history"]
    assert reasons(comparison) == ["no test scores: it has no per_image.csv"]


# ---- groups


@pytest.mark.parametrize(
    ("configs", "labels"),
    [
        ([{}, {}], ["all runs"]),
        ([CONCAT, ADD], ["fusion=concat", "fusion=add"]),
        ([{"name": "x"}, {"output": "y"}, {"logger.name": "wandb"}, {"data.root": "z"}], ["all runs"]),
        ([{"data.num_workers": 3}, {"trainer.accelerator": "cpu"}, {"metrics.warping": True}], ["all runs"]),
        ([{"init_from": None}, {"init_from": "best.ckpt"}], ["init_from=null", "init_from=best.ckpt"]),
        ([{"trainer.overfit": False}, {"trainer.overfit": True}], ["trainer.overfit=false", "trainer.overfit=true"]),
        (
            [{"loss.class_weights": [1.0, 2.5]}, {"loss.class_weights": None}],
            ["loss.class_weights=[1.0,2.5]", "loss.class_weights=null"],
        ),
        (
            [{"model.width": 8, **CONCAT}, {"model.width": 8, **ADD}, {"model.width": 16, **ADD}],
            ["model.width=8, fusion=concat", "model.width=8, fusion=add", "model.width=16, fusion=add"],
        ),
        # what the word of a model stands for is not said again ...
        (
            [{"model.name": "valid", "model.padding": "valid", "model.align": "crop"}, {"model.name": "same"}],
            ["model=valid", "model=same"],
        ),
        # ... but what merely goes with it is: the comparison is of both.
        (
            [{"model.name": "valid", "model.width": 8}, {"model.name": "same", "model.width": 16}],
            ["model=valid, model.width=8", "model=same, model.width=16"],
        ),
        # a key that one option alone has
        (
            [{"loss.name": "bce"}, {"loss.name": "border_weighted", "loss.w0": 10.0}],
            ["loss=bce", "loss=border_weighted"],
        ),
        (
            [
                {"loss.name": "bce"},
                {"loss.name": "border_weighted", "loss.w0": 10.0},
                {"loss.name": "border_weighted", "loss.w0": 20.0},
            ],
            ["loss=bce", "loss=border_weighted, loss.w0=10.0", "loss=border_weighted, loss.w0=20.0"],
        ),
        ([{}, {"trainer.later": 1}], ["without trainer.later", "trainer.later=1"]),
    ],
)
def test_groups_are_named_by_what_a_user_would_type(configs: list[dict[str, Any]], labels: list[str]) -> None:
    comparison = compare([run_in_memory({"seed": seed, **config}, {"a": 0.5}) for seed, config in enumerate(configs)])
    assert [group.label for group in comparison.groups] == labels


def test_a_preset_key_that_was_typed_is_shown() -> None:
    valid = {"model.name": "valid", "model.relu_after_upsample": True}
    runs = [
        run_in_memory({**valid, "seed": 0}, {"a": 0.5}, overrides=["model=valid", "model.relu_after_upsample=true"]),
        run_in_memory({"seed": 0}, {"a": 0.5}, overrides=["model=same"]),
    ]
    comparison = compare(runs)
    assert comparison.varying == ["model", "model.relu_after_upsample"]
    assert comparison.groups[0].settings == {"model": "valid", "model.relu_after_upsample": True}


def test_scores_are_means_over_a_runs_images_without_the_undefined_ones() -> None:
    run = run_in_memory({"seed": 3}, {"a": 0.5, "b": 0.7, "c": math.nan})
    (group,) = compare([run]).groups
    assert group.scores["iou/mean"].tolist() == pytest.approx([0.6])
    assert group.scores.index.names == ["seed", "fold"]
    assert group.scores.index.get_level_values("seed").tolist() == [3]


def test_an_estimate_is_over_runs() -> None:
    (group,) = compare(runs_of(CONCAT, {0: 0.6, 1: 0.7, 2: 0.8})).groups
    assert (group.estimate.n, group.estimate.mean, group.estimate.std) == (3, pytest.approx(0.7), pytest.approx(0.1))
    assert 0.6 - 1e-12 <= group.estimate.low < 0.7 < group.estimate.high <= 0.8 + 1e-12


@pytest.mark.parametrize("wanted", ["add", "fusion=add", "fusion=add, model.width=8", "model.width=8,fusion=add"])
def test_a_baseline_is_named_by_its_label_or_by_what_it_alone_has(wanted: str) -> None:
    runs = [
        run_in_memory({"seed": 0, "model.width": 8, **CONCAT}, {"a": 0.5}),
        run_in_memory({"seed": 0, "model.width": 16, **CONCAT}, {"a": 0.5}),
        run_in_memory({"seed": 0, "model.width": 8, **ADD}, {"a": 0.5}),
    ]
    wanted = wanted.replace("fusion=add, model.width=8", "model.width=8, fusion=add")
    comparison = compare(runs, baseline=wanted)
    assert comparison.baseline.label == "model.width=8, fusion=add"
    assert comparison.groups[0] is comparison.baseline
    assert [difference.group for difference in comparison.differences] == comparison.groups[1:]
    assert compare(runs).baseline.label == "model.width=8, fusion=concat"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"baseline": "nonsense"}, "baseline=nonsense names no group; choose one of: fusion=concat; fusion=add"),
        ({"baseline": "16"}, "baseline=16 names no group"),
        ({"metric": "iou/moon"}, "metric=iou/moon: the runs do not have it; choose one of loss, accuracy, iou/cell"),
        ({"alpha": 0.0}, "alpha=0.0"),
        ({"alpha": 1.5}, "alpha=1.5"),
        ({"alpha": math.nan}, "alpha=nan"),
    ],
)
def test_mistakes_in_the_words_are_told(words: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as mistake:
        two({0: 0.5}, {0: 0.5}, **words)
    assert str(mistake.value).startswith(said)


def test_an_ambiguous_baseline_lists_what_it_could_be() -> None:
    runs = [
        run_in_memory({"seed": 0, "model.width": width, **fusion}, {"a": 0.5})
        for width, fusion in product((8, 16), (CONCAT, ADD))
    ]
    with pytest.raises(ConfigError) as mistake:
        compare(runs, baseline="add")
    assert str(mistake.value).endswith(
        "several groups; choose one of: model.width=8, fusion=add; model.width=16, fusion=add"
    )


# ---- what can be compared


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        ({"metrics_version": 2}, "metrics version 2, the others 1"),
        ({"data_fingerprint": "another"}, "other data or split than run-"),
    ],
)
def test_runs_that_measured_something_else_are_set_apart(odd: dict[str, Any], reason: str) -> None:
    odd_runs = runs_of(ADD, {2: 0.9}, **odd)
    comparison = compare([*odd_runs, *runs_of(CONCAT, {0: 0.5, 1: 0.5}), *runs_of(ADD, {0: 0.5, 1: 0.5})])
    assert [item.folder for item in comparison.apart] == [run.folder for run in odd_runs]
    assert reasons(comparison)[0].startswith(reason)
    assert [difference.pairs for difference in comparison.differences] == [2]


def test_a_seed_of_the_data_is_no_seed_of_the_training() -> None:
    other = runs_of({**ADD, "data.seed": 5}, {0: 0.9}, data_fingerprint="another")
    comparison = compare([*runs_of(CONCAT, {0: 0.5, 1: 0.5}), *other])
    assert reasons(comparison)[0].endswith(": data.seed=5, the others 0")


def test_each_fold_has_its_own_data() -> None:
    comparison = two({(0, 0): 0.5, (0, 1): 0.6}, {(0, 0): 0.5, (0, 1): 0.6})
    assert comparison.apart == []
    assert comparison.differences[0].pairs == 2
    folds = {**ADD, "data.folds": 3}
    mixed = compare([*runs_of(CONCAT, {(0, 0): 0.5, (0, 1): 0.6}), *runs_of(folds, {(1, 0): 0.5})])
    assert reasons(mixed)[0].endswith("data.folds=3, the others 4")


def test_the_later_of_two_equal_runs_counts() -> None:
    early, late = runs_of(ADD, {0: 0.1}) + runs_of(ADD, {0: 0.9})
    comparison = compare([late, *runs_of(CONCAT, {0: 0.5}), early], baseline="concat")
    assert comparison.differences[0].group.runs == [late]
    assert comparison.differences[0].mean == pytest.approx(0.4)
    assert [(item.folder, item.reason) for item in comparison.apart] == [
        (early.folder, f"repeated by the later {late.folder.name}")
    ]


def test_runs_without_the_metric_are_set_apart() -> None:
    with_seg = [run_in_memory({"seed": seed}, {"a": 0.5}) for seed in (0, 1)]
    with_seg[0].images["seg"] = 0.7
    with_seg[1].images["seg"] = math.nan
    comparison = compare([*with_seg, run_in_memory({"seed": 2}, {"a": 0.5})], metric="test/seg")
    assert comparison.metric == "seg"
    assert reasons(comparison) == ["seg is undefined for all its images", "seg is not among its scores"]


def test_nothing_to_compare_is_told_with_the_reasons(tmp_path: Path) -> None:
    for number in range(5):
        write_run(tmp_path / f"{number}", {"seed": number}, status="failed", error="out of memory")
    with pytest.raises(DataError) as mistake:
        compare(*collect([tmp_path]))
    assert str(mistake.value).count("failed: out of memory") == 3
    assert str(mistake.value).endswith("; and 2 more)")
    with pytest.raises(DataError, match=r"no run can be compared \(there are none\)"):
        compare([])


# ---- differences


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
    assert "(seed=3, seed=9) count in the mean of their group" in comparison.warnings[0]


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
    comparison = compare(
        [*runs_of(CONCAT, {0: 0.5, 1: 0.5}), *runs_of(ADD, {0: 0.6, 1: 0.7}), *runs_of(NONE, {0: 0.1})]
    )
    assert comparison.differences[0].sentence.endswith(", 2 pairs, at least 7 are needed")
    assert comparison.warnings[0].startswith("too few pairs for any verdict: fusion=add (2), fusion=none (1). With 2 d")
    assert "at least 7 pairs" in comparison.warnings[0]
    assert comparison.warnings[1].endswith("spread: fusion=none")


def test_several_differences_are_adjusted_together() -> None:
    better = {seed: score + 0.1 for seed, score in NOISE.items()}
    comparison = compare([*runs_of(CONCAT, FLAT), *runs_of(ADD, better), *runs_of(NONE, NOISE)])
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
    comparison = compare(runs, metric=metric)
    assert comparison.higher_is_better == metric.startswith("v_rand")
    (difference,) = comparison.differences
    assert difference.verdict == "better"
    assert ("(lower is better)" in difference.sentence) == (difference.mean < 0)


def test_small_differences_keep_two_digits() -> None:
    runs = [*runs_of(CONCAT, FLAT), *runs_of(ADD, FLAT)]
    for number, run in enumerate(runs):
        run.images["warping_error"] = 0.0005 + (number >= 8) * (0.00003 + number * 1e-6)
    (difference,) = compare(runs, metric="warping_error").differences
    assert difference.sentence.startswith(
        "fusion=add is worse than fusion=concat: difference +0.000042 in warping_error (lower is better), "
        "95 % interval +0.00004"
    )


@settings(deadline=None, max_examples=20)
@given(st.dictionaries(st.integers(0, 9), st.floats(0.2, 0.8).map(lambda x: round(x, 3)), min_size=1), st.randoms())
def test_the_order_of_the_runs_changes_nothing_and_swapping_groups_changes_signs(
    scores: dict[int, float], random: Any
) -> None:
    runs = [*runs_of(CONCAT, dict.fromkeys(range(10), 0.5)), *runs_of(ADD, scores)]
    here = compare(runs, baseline="concat").differences[0]
    random.shuffle(runs)
    again, back = compare(runs, baseline="concat").differences[0], compare(runs, baseline="add").differences[0]
    assert again.sentence == here.sentence
    assert (back.mean, back.p, back.pairs) == (pytest.approx(-here.mean), here.p, here.pairs)
    assert {"better": "worse", "worse": "better"}.get(here.verdict, here.verdict) == back.verdict


def test_the_table_has_costs_and_what_mismatch_remains() -> None:
    concat = runs_of(CONCAT, FLAT, parameters=1000, macs=2000, seconds_training=60.0, peak_memory=10)
    add = runs_of(ADD, NOISE, parameters=900, macs=2010, seconds_training=90.0, peak_memory=30)
    comparison = compare([*concat, *add])
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
        ({"git": None}, "the runs are of different commits of the code: 0000000000, unknown"),
        ({"git": {"commit": "0" * 40, "changed": True}}, "8 of 16 runs had changes in the code beyond its commit"),
    ],
)
def test_runs_of_different_circumstances_are_warned_of(odd: dict[str, Any], said: str) -> None:
    comparison = compare([*runs_of(CONCAT, FLAT), *runs_of(ADD, NOISE, **odd)])
    assert len(comparison.warnings) == 1
    assert comparison.warnings[0].startswith(said)


def test_a_cost_that_is_not_known_is_left_out() -> None:
    comparison = compare([*runs_of(CONCAT, FLAT), *runs_of(ADD, NOISE, macs=None, seconds_training=None)])
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
    comparisons = [compare(simulated_sweep(rng, gains)) for _ in range(sweeps)]
    return [[difference.verdict for difference in comparison.differences] for comparison in comparisons]


@pytest.mark.parametrize("words", [("concat", "add"), pytest.param(("concat", "add", "none"), marks=pytest.mark.slow)])
def test_equal_variants_are_told_apart_in_no_more_than_one_sweep_of_twenty(words: tuple[str, ...]) -> None:
    sweeps = 200
    verdicts = claims(dict.fromkeys(words, 0.0), sweeps, seed=len(words))
    false_alarms = sum(bool({"better", "worse"} & set(of_sweep)) for of_sweep in verdicts)
    # 5 % of 200 are 10; with an honest test 18 are exceeded in less than one series of 100.
    assert false_alarms <= stats.binom.ppf(0.99, sweeps, 0.05)


def test_a_true_difference_is_found() -> None:
    verdicts = claims({"concat": 0.0, "add": 0.03, "none": -0.03}, sweeps=40, seed=0)
    assert np.mean([of_sweep == ["better", "worse"] for of_sweep in verdicts]) >= 0.9
