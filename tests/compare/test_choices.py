"""What a comparison chooses where little is typed, and how it names what can be typed."""

import shlex
import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from conftest import Said
from sweeps_on_disk import (
    ADD,
    CONCAT,
    FUSIONS,
    NONE,
    compared,
    draw_pictures,
    run_in_memory,
    runs_of,
    write_run,
    write_sweep,
)

from unet_exp.compare.collect import Run
from unet_exp.compare.comparison import compare_runs
from unet_exp.compare.report import table_rows
from unet_exp.compare.wording import write_verdicts
from unet_exp.errors import ConfigError

Cli = Callable[..., Said]
TWO_KEYS = [
    {"fusion.name": word, "optimizer.lr": rate} for word, rate in product(("concat", "add", "none"), (0.001, 0.0003))
]


def with_borders(monitor: str, at_val: bool = True) -> list[Run]:
    """Two groups whose runs were chosen by a score; the test measured borders too."""
    runs = [
        *runs_of({**CONCAT, "trainer.monitor": monitor}, {0: 0.5}),
        *runs_of({**ADD, "trainer.monitor": monitor}, {0: 0.6}),
    ]
    for run in runs:
        run.images["v_rand"] = 1 - run.images["iou/mean"]
        if at_val:
            run.images["v_rand_at_val"] = 1 - run.images["iou/mean"]
    return runs


@pytest.mark.parametrize(
    ("monitor", "metric", "reason"),
    [
        ("val/v_rand", "v_rand_at_val", "trainer.monitor=val/v_rand"),
        ("val/iou/cell", "iou/cell", "trainer.monitor=val/iou/cell"),
        ("val/iou/mean", "iou/mean", "trainer.monitor=val/iou/mean"),
        ("val/loss", "iou/mean", "trainer.monitor=val/loss is a loss"),
        ("val/seg", "iou/mean", "the test has no seg (trainer.monitor=val/seg)"),
        ("val/beauty", "iou/mean", "trainer.monitor=val/beauty is no score of theirs"),
    ],
)
def test_runs_are_compared_by_what_chose_their_networks(monitor: str, metric: str, reason: str) -> None:
    comparison = compare_runs(with_borders(monitor))
    assert (comparison.metric, comparison.reason) == (metric, reason)
    expected = -0.1 if metric == "v_rand_at_val" else 0.1
    assert comparison.differences[0].mean == pytest.approx(expected)


def test_a_score_without_the_threshold_of_validation_is_its_own_counterpart() -> None:
    assert compare_runs(with_borders("val/v_rand", at_val=False)).metric == "v_rand"
    undefined = with_borders("val/v_rand")
    for run in undefined:
        run.images["v_rand_at_val"] = np.nan
    assert compare_runs(undefined).metric == "v_rand"


def test_runs_that_other_scores_chose_are_compared_by_the_usual_one() -> None:
    first, second = with_borders("val/v_rand")[0], with_borders("val/iou/cell")[1]
    comparison = compare_runs([first, second])
    assert (comparison.metric, comparison.reason) == ("iou/mean", "the runs differ in trainer.monitor")


def test_a_typed_metric_wins() -> None:
    comparison = compare_runs(with_borders("val/v_rand"), metric="test/iou/mean")
    assert (comparison.metric, comparison.reason) == ("iou/mean", "")


def test_the_command_and_the_page_say_by_what_and_why(cli: Cli, tmp_path: Path) -> None:
    write_sweep(tmp_path / "sweep", [{**fusion, "trainer.monitor": "val/iou/cell"} for fusion in FUSIONS[:2]], seeds=2)
    said = cli("compare", "runs=sweep")
    why = "as trainer.monitor=val/iou/cell"
    assert said.out.splitlines()[0] == f"compared by iou/cell, {why}"
    assert said.folder == Path("sweep/report.html")
    stated = f"compared by iou/cell on the test images (higher is better), {why}; the baseline is"
    assert stated in (tmp_path / said.folder).read_text()
    assert "compared by" not in cli("compare", "runs=sweep", "metric=iou/mean", "output=other").out


# --- baseline ---


def test_an_ambiguous_baseline_names_words_that_can_be_typed(cli: Cli, tmp_path: Path) -> None:
    write_sweep(tmp_path / "sweep", TWO_KEYS[:4], seeds=1)
    mistake = cli("compare", "runs=sweep", "baseline=concat").mistake
    first, second = (f"'baseline=fusion=concat, optimizer.lr={rate}'" for rate in ("0.001", "0.0003"))
    assert mistake == f"baseline=concat names several groups; type one of: {first} or {second}"
    said = cli("compare", "runs=sweep", *shlex.split(second), "output=page")
    assert "iou/mean, baseline fusion=concat, optimizer.lr=0.0003" in said.out


@pytest.mark.parametrize("word", ["10", "10.0", "1e1", "loss.w0=10", "loss.w0=10.00"])
def test_numbers_of_a_baseline_are_compared_as_numbers(word: str) -> None:
    runs = [run_in_memory({"seed": 0, "loss.name": "border_weighted", "loss.w0": w0}, {"a": 0.5}) for w0 in (5.0, 10.0)]
    assert compare_runs(runs, baseline=word).baseline.label == "loss.w0=10.0"


def test_a_number_of_one_key_is_not_that_of_another() -> None:
    runs = [run for keys in TWO_KEYS for run in runs_of(keys, {0: 0.5})]
    assert compare_runs(runs, baseline="add,3e-4").baseline.label == "fusion=add, optimizer.lr=0.0003"
    with pytest.raises(ConfigError, match=r"^baseline=loss.w0=0.001 names no group; type one of: 'baseline=fusion=con"):
        compare_runs(runs, baseline="loss.w0=0.001")


# --- many groups ---


@pytest.fixture
def six(tmp_path: Path) -> Path:
    """A sweep of two keys with one seed, whose groups without `concat` have fewer parameters."""
    for number, variant in enumerate(TWO_KEYS):
        fewer = {} if variant["fusion.name"] == "concat" else {"parameters": 438_000}
        write_run(tmp_path / "six" / f"{number}", variant, {"a": 0.5 + 0.01 * number, "b": 0.6}, **fewer)
    return tmp_path / "six"


def test_what_is_equal_is_told_once(cli: Cli, six: Path) -> None:
    said = cli("compare", f"runs={six}", "baseline=concat,0.001")
    told = [line for line in said.out.splitlines() if line.startswith(("○", "warning"))]
    assert told == [
        "○ 5 groups have too few pairs with fusion=concat, optimizer.lr=0.001 for a verdict "
        "(1 each; at least 8 are needed)",
        "warning: each of the 6 groups has a single run, so that nothing is known of their spread",
        "warning: fusion=add and fusion=none have 9.8 % fewer parameters than fusion=concat; "
        "model.match=parameters or model.match=flops brings them together",
        "warning: predictions of 6 of 6 runs are gone: the page has no pictures",
    ]


def test_groups_without_a_pair_are_told_together() -> None:
    comparison = compare_runs([*runs_of(CONCAT, {0: 0.5}), *runs_of(ADD, {1: 0.5}), *runs_of(NONE, {2: 0.5})])
    (line,) = write_verdicts(comparison.differences, comparison.baseline)
    assert line == "○ 2 groups have no seed and fold in common with fusion=concat, and cannot be compared with it"


def test_groups_that_no_key_sets_apart_have_their_whole_labels() -> None:
    scores = dict.fromkeys(range(2), 0.5)
    fewer = {"fusion.name": "add", "optimizer.lr": 0.0003}, {"fusion.name": "none", "optimizer.lr": 0.0003}
    runs = [run for keys in TWO_KEYS for run in runs_of(keys, scores, parameters=438_000 if keys in fewer else 485_682)]
    (warning,) = compare_runs(runs).warnings
    assert warning.startswith(
        "fusion=add, optimizer.lr=0.0003 and fusion=none, optimizer.lr=0.0003 have 9.8 % fewer parameters than "
        "fusion=concat, optimizer.lr=0.001; model.match="
    )


def test_p_is_left_out_where_no_test_can_reach_alpha(six: Path) -> None:
    for row in table_rows(compared(six))[1:]:
        assert row.cells["p (Holm)"] == "\N{EN DASH}"
    scores = {seed: 0.5 + 0.01 * (seed % 3) for seed in range(8)}
    enough = compare_runs([*runs_of(CONCAT, dict.fromkeys(scores, 0.5)), *runs_of(ADD, scores)])
    assert float(table_rows(enough)[1].cells["p (Holm)"]) == pytest.approx(enough.differences[0].p_holm, rel=0.05)


# --- pictures ---


def test_pictures_that_are_gone_are_told(cli: Cli, tmp_path: Path) -> None:
    write_sweep(tmp_path / "sweep", FUSIONS[:2], seeds=2)
    draw_pictures(tmp_path / "sweep")
    assert "gone" not in cli("compare", "runs=sweep").out
    shutil.rmtree(tmp_path / "sweep" / "fusion=add,seed=0" / "predictions")
    assert "warning: predictions of 1 of 4 runs are gone" in cli("compare", "runs=sweep").out
    for folder in tmp_path.glob("sweep/*/predictions"):
        shutil.rmtree(folder)
    said = cli("compare", "runs=sweep")
    line = "predictions of 4 of 4 runs are gone: the page has no pictures"
    assert f"warning: {line}" in said.out.splitlines()
    assert line.capitalize() in (tmp_path / said.folder).read_text()


def test_pictures_that_were_not_wanted_are_not_gone(cli: Cli, tmp_path: Path) -> None:
    write_sweep(tmp_path / "sweep", [{**fusion, "metrics.pictures": 0} for fusion in FUSIONS[:2]], seeds=2)
    assert "gone" not in cli("compare", "runs=sweep").out
