"""Each score's declaration, and which way it is better, whatever a class is called."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unet_exp.errors import ConfigError
from unet_exp.metrics.declarations import METRICS, declared, direction, find_metric, metric_names, threshold_names

few = settings(max_examples=60, deadline=None, derandomize=True)
CLASSES = ("forest", "forest_loss", "loss", "error", "v_rand", "rand_error_at_val", "iou", "val", "mean of all", "ä.*")
DIRECTIONS = {
    "loss": "min",
    "accuracy": "max",
    "iou": "max",
    "dice": "max",
    "v_rand": "max",
    "v_info": "max",
    "rand_error": "min",
    "pixel_error": "min",
    "warping_error": "min",
    "seg": "max",
}
SPLITS = ("", "train/", "val/", "test/")


@pytest.mark.parametrize("split", SPLITS)
def test_the_direction_of_every_score(split: str) -> None:
    names = {metric.name: metric.names(CLASSES) for metric in METRICS}
    assert {name: {direction(f"{split}{full}") for full in of} for name, of in names.items()} == {
        name: {best} for name, best in DIRECTIONS.items()
    }
    for metric in METRICS:
        for full in metric.names(CLASSES):
            assert find_metric(f"{split}{full}") is metric


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", ["v_rand", "v_info", "rand_error", "pixel_error", "warping_error"])
def test_a_score_at_the_threshold_of_validation_is_better_the_same_way(split: str, name: str) -> None:
    assert direction(f"{split}{name}_at_val") == DIRECTIONS[name]


@few
@given(st.from_regex(r"[^/\s][^/\n]{0,59}", fullmatch=True), st.sampled_from(SPLITS), st.sampled_from(["iou", "dice"]))
def test_no_name_of_a_class_turns_its_score_round(name: str, split: str, score: str) -> None:
    assert direction(f"{split}{score}/{name}") == "max"


@pytest.mark.parametrize(
    "name",
    [
        *("iou", "iou/", "val/iou", "iou/cell/mean", "cell", "loss/cell", "val", "val/", "", "val/val/loss", "lr"),
        *("iuo/mean", "forest_loss", "my_error", "f1", "Loss", "loss_at_val", "iou/mean/", "seg_at_val", "train/loss_step"),
    ],
)  # fmt: skip
def test_what_is_no_score_has_no_direction(name: str) -> None:
    with pytest.raises(ConfigError, match="there is no such score; the scores are loss, accuracy, iou/<class>, "):
        direction(name)


def test_a_threshold_has_no_direction() -> None:
    names = threshold_names(("isbi", "seg"), warping=True)
    assert names == [f"{name}_threshold" for name in DIRECTIONS if name.startswith("v_") or name.endswith("_error")]
    for name in (*names, *(f"test/{name}_at_val" for name in names)):
        with pytest.raises(ConfigError, match=f"^{name}: there is no such score"):
            direction(name)


def test_the_declarations_are_whole() -> None:
    assert {metric.name for metric in METRICS} == DIRECTIONS.keys()
    assert len({metric.title for metric in METRICS}) == len(METRICS)
    assert [metric.name for metric in METRICS if metric.function is None] == ["loss"]
    assert declared(("isbi", "seg"), warping=True) == list(METRICS)
    assert all("/" not in metric.name for metric in METRICS)
    names = metric_names(CLASSES, ("isbi", "seg"), warping=True)
    assert len(set(names)) == len(names)


def test_they_are_read_without_torch() -> None:
    heavy = "{'torch', 'pytorch_lightning', 'matplotlib', 'pandas'}"
    code = (
        f"import sys, unet_exp.metrics.declarations; assert not {heavy} & set(sys.modules), {heavy} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
