"""Which runs are found and read, and which of them can be compared."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from sweeps_on_disk import ADD, CONCAT, reasons, run_in_memory, runs_of, write_run, write_sweep

from unet_exp.compare.collect import collect
from unet_exp.compare.comparison import compare_runs
from unet_exp.errors import DataError

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
    comparison = compare_runs(runs)
    (group,) = comparison.groups
    assert group.label == "all runs"
    assert group.estimate.mean == pytest.approx(json.loads(finished.summary.read_text())["metrics"]["test/iou/mean"])
    assert comparison.table()["parameters"].tolist() == [runs[0].summary.parameters]


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


@pytest.mark.parametrize("place", ["~nobody-at-all/x", "x" * 300, f"{'x' * 300}/*", "a\0b"])
def test_a_place_that_cannot_be_is_told_in_one_line(place: str) -> None:
    with pytest.raises(DataError, match=r"there is no such folder; runs are in outputs/train, sweeps in "):
        collect([place])


def test_a_place_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_run(tmp_path / "run")
    assert [run.folder for run in collect(["~"])[0]] == [tmp_path / "run"]


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
        (_summary(data_fingerprint=None), "summary.json is damaged: data_fingerprint"),
        (_summary(data_fingerprint=["a"], metrics_version="1"), "summary.json is damaged: data_fingerprint, metrics_v"),
        (_summary(git="0000"), "summary.json is damaged: git"),
        (_summary(overrides="seed=1"), "summary.json is damaged: overrides"),
        (_summary(versions=["2.7"]), "summary.json is damaged: versions"),
        (_summary(split={"test": None}), "summary.json is damaged: split"),
        (_summary(split={"test": [1, 2, 3]}), "summary.json is damaged: split"),
        (_summary(split=["t_0"]), "summary.json is damaged: split"),
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
        (_file("per_image.csv", "image,loss\n"), "per_image.csv is damaged: 0 rows for 3 test images"),
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
    _file("per_image.csv", "image,loss\n")(write_run(tmp_path / "no tests", {"seed": 2}, split={"test": []}))
    comparison = compare_runs(*collect([tmp_path]))
    assert [run.folder.name for run in comparison.baseline.runs] == ["no history"]
    assert reasons(comparison) == ["no test scores"] * 2


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
    comparison = compare_runs([*odd_runs, *runs_of(CONCAT, {0: 0.5, 1: 0.5}), *runs_of(ADD, {0: 0.5, 1: 0.5})])
    assert [item.folder for item in comparison.excluded] == [run.folder for run in odd_runs]
    assert reasons(comparison)[0].startswith(reason)
    assert [difference.pairs for difference in comparison.differences] == [2]


def test_a_seed_of_the_data_is_no_seed_of_the_training() -> None:
    other = runs_of({**ADD, "data.seed": 5}, {0: 0.9}, data_fingerprint="another")
    comparison = compare_runs([*runs_of(CONCAT, {0: 0.5, 1: 0.5}), *other])
    assert reasons(comparison)[0].endswith(": data.seed=5, the others 0")


def test_each_fold_has_its_own_data() -> None:
    scores = {(0, 0): 0.5, (0, 1): 0.6}
    comparison = compare_runs([*runs_of(CONCAT, scores), *runs_of(ADD, scores)])
    assert comparison.excluded == []
    assert comparison.differences[0].pairs == 2
    folds = {**ADD, "data.folds": 3}
    mixed = compare_runs([*runs_of(CONCAT, {(0, 0): 0.5, (0, 1): 0.6}), *runs_of(folds, {(1, 0): 0.5})])
    assert reasons(mixed)[0].endswith("data.folds=3, the others 4")


def test_the_later_of_two_equal_runs_counts() -> None:
    early, late = runs_of(ADD, {0: 0.1}) + runs_of(ADD, {0: 0.9})
    comparison = compare_runs([late, *runs_of(CONCAT, {0: 0.5}), early], baseline="concat")
    assert comparison.differences[0].group.runs == [late]
    assert comparison.differences[0].mean == pytest.approx(0.4)
    assert [(item.folder, item.reason) for item in comparison.excluded] == [
        (early.folder, f"repeated by the later {late.folder.name}")
    ]


def test_runs_without_the_metric_are_set_apart() -> None:
    with_seg = [run_in_memory({"seed": seed}, {"a": 0.5}) for seed in (0, 1)]
    with_seg[0].images["seg"] = 0.7
    with_seg[1].images["seg"] = math.nan
    comparison = compare_runs([*with_seg, run_in_memory({"seed": 2}, {"a": 0.5})], metric="test/seg")
    assert comparison.metric == "seg"
    assert reasons(comparison) == ["seg is not among its scores", "seg is undefined for all its images"]


def test_nothing_to_compare_is_told_with_the_reasons(tmp_path: Path) -> None:
    for number in range(5):
        write_run(tmp_path / f"{number}", {"seed": number}, status="failed", error="out of memory")
    with pytest.raises(DataError) as mistake:
        compare_runs(*collect([tmp_path]))
    assert str(mistake.value).count("failed: out of memory") == 3
    assert str(mistake.value).endswith("; and 2 more)")
    with pytest.raises(DataError, match=r"no run can be compared \(there are none\)"):
        compare_runs([])


def test_every_setting_of_the_data_that_differs_is_named() -> None:
    smaller = {**ADD, "data.height": 64, "data.train_images": 3, "data.num_workers": 2, "data.root": "elsewhere"}
    other = runs_of(smaller, {0: 0.9}, data_fingerprint="another")
    comparison = compare_runs([*runs_of(CONCAT, {0: 0.5, 1: 0.5}), *other])
    (reason,) = reasons(comparison)
    height, images = (comparison.baseline.runs[0].config[f"data.{key}"] for key in ("height", "train_images"))
    assert reason.endswith(f": data.height=64, the others {height}; data.train_images=3, the others {images}")


@pytest.mark.parametrize("odd", [math.inf, -math.inf, math.nan])
def test_a_loss_that_is_not_finite_sets_its_run_apart_under_that_metric_alone(odd: float) -> None:
    runs = [*runs_of(CONCAT, {0: 0.5, 1: 0.5}), *runs_of(ADD, {0: 0.5, 1: 0.5})]
    runs[3].images.loc["a", "loss"] = odd
    comparison = compare_runs(runs, metric="loss")
    assert [(item.folder, item.reason) for item in comparison.excluded] == [
        (runs[3].folder, "its loss is not finite on 1 image")
    ]
    assert any(warning.startswith("1 run failed, did not finish or has no score") for warning in comparison.warnings)
    assert compare_runs(runs).excluded == []


def test_an_infinite_loss_on_disk_is_not_dropped(tmp_path: Path) -> None:
    scores = pd.DataFrame({"loss": [0.5, math.inf, math.inf], "iou/mean": [0.5, 0.5, 0.5]}, index=["a", "b", "c"])
    write_run(tmp_path / "bad", {"seed": 1}, scores)
    write_run(tmp_path / "good", {"seed": 0}, scores.replace(math.inf, 1.0))
    assert reasons(compare_runs(*collect([tmp_path]), metric="loss")) == ["its loss is not finite on 2 images"]


def test_a_key_that_an_earlier_version_did_not_have_means_what_that_version_did(tmp_path: Path) -> None:
    for number, drawn in enumerate(["image", "area", None]):
        folder = write_run(tmp_path / str(number), {"seed": number, **({"data.sampling": drawn} if drawn else {})})
        if drawn is None:
            values = yaml.safe_load((folder / "config.yaml").read_text())
            del values["data"]["sampling"], values["data"]["foreground_share"]
            (folder / "config.yaml").write_text(yaml.safe_dump(values))
    groups = compare_runs(*collect([tmp_path])).groups
    assert [(group.label, [run.seed for run in group.runs]) for group in groups] == [
        ("data.sampling=image", [0, 2]),
        ("data.sampling=area", [1]),
    ]


def test_an_image_that_is_ignored_altogether_counts_as_nothing_also_in_runs_that_gave_it_a_loss_of_0(
    tmp_path: Path,
) -> None:
    for seed, loss in enumerate([math.nan, 0.0]):
        for group, gain in (("concat", 0.0), ("add", 0.1)):
            scores = pd.DataFrame(
                {"loss": [0.5 - gain, loss], "accuracy": [0.7, math.nan], "iou/mean": [0.5 + gain, math.nan]},
                index=["seen", "ignored"],
            )
            write_run(tmp_path / f"{group}{seed}", {"seed": seed, "fusion": {"name": group}}, scores)
    for metric, base, gain in (("loss", 0.5, -0.1), ("iou/mean", 0.5, 0.1)):
        comparison = compare_runs(*collect([tmp_path]), metric=metric, baseline="fusion=concat")
        assert comparison.excluded == []
        assert comparison.baseline.estimate.mean == pytest.approx(base)
        assert comparison.differences[0].gains == pytest.approx([gain, gain])


def test_the_radius_of_the_warping_error_matters_to_that_metric_alone() -> None:
    runs = [*runs_of(CONCAT, {0: 0.5, 1: 0.5}), *runs_of({**ADD, "metrics.warping_radius": 5}, {0: 0.5})]
    for run in runs:
        run.images["warping_error"] = 0.1
    assert reasons(compare_runs(runs, metric="warping_error")) == ["metrics.warping_radius=5, the others null"]
    assert reasons(compare_runs(runs)) == []


@pytest.mark.parametrize(
    ("summary", "lost"),
    [
        ({"status": "failed", "error": "x"}, True),
        ({"status": "running"}, True),
        ({"status": "stopped", "pruned_at": 5}, False),
        ({"checkpoint": "best.ckpt"}, False),
    ],
)
def test_runs_that_failed_are_counted_and_others_that_are_set_apart_are_not(
    tmp_path: Path, summary: dict[str, Any], lost: bool
) -> None:
    write_run(tmp_path / "good")
    write_run(tmp_path / "bad", {"seed": 1}, **summary)
    comparison = compare_runs(*collect([tmp_path]))
    assert [item.lost for item in comparison.excluded] == [lost]
    assert any("if the setting itself is why" in warning for warning in comparison.warnings) == lost
