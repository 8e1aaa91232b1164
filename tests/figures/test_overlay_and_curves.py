"""Overlays and learning curves: what stands where, and that odd inputs are drawn too."""

import csv
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from unet_exp.config import IGNORE_LABEL, ClassSpec
from unet_exp.figures import overlay
from unet_exp.figures.curves import draw_curves
from unet_exp.figures.overlay import cut_legend, draw_panels, view_as_rgb
from unet_exp.io.images import read_image
from unet_exp.samples.classes import IGNORE_COLOR

CLASSES = [
    ClassSpec(name="membrane", value=0, color=[10, 20, 30]),
    ClassSpec(name="cell", value=255, color=[200, 210, 220]),
]
RED, BLUE = (230, 60, 40), (40, 80, 200)


def parts(picture: NDArray[np.uint8], width: int) -> list[NDArray[np.uint8]]:
    """The panels without their headers, gaps and legend, in the size of the image."""
    legend = cut_legend(picture)
    assert legend is not None
    picture = picture[: -len(legend) - 1]
    times = enlarged(width)
    wide = width * times + overlay._GAP
    assert picture.shape[1] % wide == 0
    left = overlay._GAP // 2
    return [
        picture[overlay._HEADER : -overlay._GAP, start + left : start + left + width * times][::times, ::times]
        for start in range(0, picture.shape[1], wide)
    ]


def enlarged(width: int) -> int:
    """How many pixels wide one of a narrow image is drawn."""
    return max(1, -(-200 // width))


def test_a_narrow_and_long_image_is_not_made_longer() -> None:
    image, truth, prediction = drawn(3000, 2)
    assert draw_panels(image, truth, prediction, CLASSES).shape[0] < 3300


def drawn(height: int = 30, width: int = 40, channels: int = 1) -> tuple[Any, Any, Any]:
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (height, width, channels), np.uint8)
    truth = random.integers(0, 2, (height, width)).astype(np.uint8)
    prediction = random.integers(0, 2, (height, width)).astype(np.uint8)
    truth[random.random((height, width)) < 0.3] = IGNORE_LABEL
    return image, truth, prediction


# --- overlays ---


@pytest.mark.parametrize("size", [(30, 40), (40, 30), (1, 1), (3, 200)])
@pytest.mark.parametrize("channels", [1, 3])
def test_four_panels_with_a_truth_and_three_without(size: tuple[int, int], channels: int) -> None:
    height, width = size
    image, truth, prediction = drawn(height, width, channels)
    for label, count in ((truth, 4), (None, 3)):
        picture = draw_panels(image, label, prediction, CLASSES, "IoU 0.123")
        assert picture.dtype == np.uint8
        legend = cut_legend(picture)
        assert legend is not None
        times = enlarged(width)
        with_legend = height * times + overlay._HEADER + overlay._GAP + 1 + len(legend)
        assert picture.shape == (with_legend, count * (width * times + overlay._GAP), 3)
        assert len(parts(picture, width)) == count


def test_each_panel_shows_what_it_says() -> None:
    image, truth, prediction = drawn()
    seen, true, predicted, _ = parts(draw_panels(image, truth, prediction, CLASSES), 40)
    assert (seen == image).all()
    for index, spec in enumerate(CLASSES):
        assert (true[truth == index] == spec.color).all()
        assert (predicted[prediction == index] == spec.color).all()
    grey = true[truth == IGNORE_LABEL]
    assert not any((grey == spec.color).all(axis=-1).any() for spec in CLASSES)


def test_an_error_is_red_where_it_is_wrong_and_only_there() -> None:
    image, truth, prediction = drawn()
    error = parts(draw_panels(image, truth, prediction, CLASSES), 40)[3]
    ignored = truth == IGNORE_LABEL
    wrong = (truth != prediction) & ~ignored
    assert wrong.any()
    assert ignored.any()
    assert ((error == RED).all(axis=-1) == wrong).all()
    blue = (error == BLUE).all(axis=-1)
    assert not blue[~ignored].any()
    assert 0.3 < blue[ignored].mean() < 0.7, "stripes, which no class has"
    right = error[~wrong & ~ignored].astype(int)
    assert (np.ptp(right, axis=-1) == 0).all(), "elsewhere the grey image"
    assert (right[:, 0] <= image[~wrong & ~ignored][:, 0] / 2).all(), "darkened"


def test_the_share_of_errors_is_of_the_counted_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    titles: list[str] = []
    monkeypatch.setattr(overlay, "_add_title", lambda title, panel: (titles.append(title), panel)[1])
    truth = np.array([[0, 0, 1, 1, IGNORE_LABEL, IGNORE_LABEL]], np.uint8)
    prediction = np.array([[0, 0, 1, 0, 0, 1]], np.uint8)
    image = np.zeros((1, 6, 1), np.uint8)
    draw_panels(image, truth, prediction, CLASSES, "IoU 0.9")
    draw_panels(image, np.full_like(truth, IGNORE_LABEL), prediction, CLASSES)
    draw_panels(image, None, prediction, CLASSES)
    assert titles == [
        *("input", "truth", "prediction IoU 0.9", "error 25.0%"),
        *("input", "truth", "prediction", "all ignored"),
        *("input", "prediction", "overlay"),
    ]


def test_panels_leave_their_inputs_alone() -> None:
    inputs = drawn(channels=3)
    before = [array.copy() for array in inputs]
    draw_panels(*inputs, CLASSES)
    assert all((array == old).all() for array, old in zip(inputs, before, strict=True))


def test_no_class_is_painted_where_there_is_no_data() -> None:
    valid = np.ones((30, 40), bool)
    valid[:, :9] = False
    image = np.where(valid, 100 + np.arange(40), 0).astype(np.float32)[..., None]
    prediction = np.ones((30, 40), np.uint8)
    seen, predicted, _ = parts(draw_panels(image, None, prediction, CLASSES, valid=valid), 40)
    np.testing.assert_array_equal(predicted[~valid], [IGNORE_COLOR] * int((~valid).sum()))
    assert (predicted[valid] == CLASSES[1].color).all()
    assert (seen[0, 9, 0], seen[0, 39, 0]) == (0, 255), "stretched by what holds data"


def test_without_a_truth_the_last_panel_is_a_blend() -> None:
    image, _, prediction = drawn()
    _, predicted, blend = parts(draw_panels(image, None, prediction, CLASSES), 40)
    expected = 0.6 * image + 0.4 * predicted
    assert np.abs(blend - expected).max() <= 1


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_any_image_can_be_shown(dtype: str, channels: int) -> None:
    ramp = np.linspace(0, 1, 30 * 40 * channels).reshape(30, 40, channels)
    image = (ramp * {"uint8": 255, "uint16": 3000, "float32": 1}[dtype]).astype(dtype)
    shown = view_as_rgb(image)
    assert shown.shape == (30, 40, 3)
    assert shown.dtype == np.uint8
    assert shown.min() < 5
    assert shown.max() > 250, "a dim image is stretched"
    if channels < 3:
        assert (shown == shown[..., :1]).all()
    elif dtype == "uint8":
        assert (shown == image[..., :3]).all()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_constant_image_can_be_shown(dtype: str) -> None:
    image = np.full((4, 5, 1), 7, dtype)
    assert view_as_rgb(image).shape == (4, 5, 3)


# --- learning curves ---

FIELDS = ["epoch", "step", "seconds", "lr", "train/loss", "val/loss", "val/accuracy"]
FIELDS += ["val/iou/membrane", "val/iou/forest_loss", "val/iou/mean", "val/dice/mean"]


def write_csv(path: Path, *rows: tuple[Any, ...]) -> Path:
    """Rows of training loss, validation loss, accuracy, three IoUs and a Dice; those left out are empty cells."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        for epoch, row in enumerate(rows):
            known = dict(zip(FIELDS[4:], row, strict=False))
            writer.writerow({"epoch": epoch, "step": 10 * (epoch + 1), "seconds": 1.5, "lr": 0.01, **known})
    return path


EARLY = (0.7, 0.6, 0.5, 0.4, 0.5, 0.45, 0.6)
BEST = (0.5, 0.5, 0.8, 0.6, 0.7, 0.65, 0.8)
LATE = (0.4, 0.7, 0.7, 0.5, 0.6, 0.55, 0)
nan = float("nan")
RUNS = {
    "full": [EARLY, BEST, LATE],
    "validated every other epoch": [(0.7,), BEST, (0.4,)],
    "never validated": [(0.7,), (0.6,)],
    "nan scores": [(0.7, 0.6, 0.9, nan, 0.5, nan, nan), BEST, (0.6, 0.6, 0.8, nan, 0.7, nan)],
    "only nan": [(nan, nan, nan, nan, nan, nan, nan)],
    "a loss of zero": [(0.0, 0.0, 1, 1, 1, 1, 1)],
    "no epoch": [],
}


@pytest.mark.usefixtures("draws")
@pytest.mark.filterwarnings("ignore:No artists with labels")
@pytest.mark.parametrize("run", ["nan scores", "only nan", "never validated", "a loss of zero", "no epoch"])
def test_curves_are_written_for_any_run(run: str, tmp_path: Path) -> None:
    target = tmp_path / "curves.png"
    draw_curves(write_csv(tmp_path / "metrics.csv", *RUNS[run]), target, "val/iou/mean")
    picture = read_image(target)
    assert picture.shape[0] > 300
    assert picture.shape[1] > 1000
    assert (picture[..., :3].min(axis=-1) < 128).sum() > 500, "something is drawn"
    assert matplotlib.image.imread(target).shape[:2] == picture.shape[:2]


@pytest.mark.usefixtures("draws")
@pytest.mark.parametrize(
    ("run", "monitor", "best"),
    [
        ("full", "val/iou/mean", (20, 0.65)),
        ("full", "val/loss", (20, 0.5)),
        ("validated every other epoch", "val/iou/mean", (20, 0.65)),
        ("nan scores", "val/iou/mean", (20, 0.65)),
        ("full", "val/iou/forest_loss", (20, 0.7)),
        ("never validated", "val/iou/mean", None),
        ("only nan", "val/loss", None),
    ],
)
def test_the_best_value_is_marked(
    run: str, monitor: str, best: tuple[int, float] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marked: list[tuple[Any, Any, str]] = []
    lines: dict[str, list[float]] = {}
    plot = Axes.plot

    def watched(self: Axes, *args: Any, **settings: Any) -> Any:
        if len(args) == 3 and args[2] == "o":
            marked.append((args[0], args[1], settings["label"]))
        else:
            lines[settings.get("label", "lr")] = list(args[1])
        return plot(self, *args, **settings)

    monkeypatch.setattr(Axes, "plot", watched)
    monkeypatch.setattr(Figure, "savefig", lambda _, target, **__: target.touch())
    draw_curves(write_csv(tmp_path / "metrics.csv", *RUNS[run]), tmp_path / "curves.png", monitor)
    assert marked == ([] if best is None else [(*best, f"best: {best[1]:.4f}")])
    assert lines.keys() == {"training", "validation", "accuracy", "iou/membrane", "iou/forest_loss", "iou/mean", "lr"}
    assert lines["training"] == pytest.approx([row[0] for row in RUNS[run]], nan_ok=True)
    assert lines["validation"] == pytest.approx([row[1] for row in RUNS[run] if len(row) > 1], nan_ok=True)
