"""Lists of albumentations: all maps move with the image, what is invented is ignored, each mistake is one line."""

import inspect
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import yaml
from conftest import composed
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from patterns import in_memory, noise
from resuming import differences

from unet_exp import augmentation, losses
from unet_exp.augmentation import Window
from unet_exp.config import IGNORE_LABEL, ClassSpec, parse
from unet_exp.config.transforms import CONTAINERS, DROPS, MOVES, REFUSED, TURNS, USED, VALUES
from unet_exp.errors import ConfigError
from unet_exp.samples.data_set import DataSet
from unet_exp.samples.moments import summarize
from unet_exp.samples.normalization import Normalization
from unet_exp.samples.sample import Sample
from unet_exp.training.datamodule import SegmentationData
from unet_exp.training.draws import Draw
from unet_exp.training.parts import ImageParts
from unet_exp.training.patches import PatchDataset

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "augmentation.md").read_text()
(EXAMPLE,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
INSTANCES = yaml.safe_load(EXAMPLE)["transforms"]
TYPES = (np.uint8, np.uint16, np.float32)


@cache
def words(*overrides: str) -> dict[str, Any]:
    return composed(*overrides)


def config_of(transforms: list[Any], **keys: Any) -> Any:
    values = words("augmentation=albumentations")
    return parse({**values, "augmentation": {**values["augmentation"], "transforms": transforms, **keys}})


def then(word: str, transforms: list[Any], **keys: Any) -> Any:
    values = words(f"augmentation={word}")
    return parse({**values, "augmentation": {**values["augmentation"], "then": transforms, **keys}})


def cut(config: Any, sample: Sample, window: Window, seed: int) -> tuple[NDArray[Any], ...]:
    """The patch of a sample with its label and its ids, as a training cuts them."""
    parts = ImageParts(in_memory([sample]), 0, Normalization(mode="none"))
    stored = parts.stored(lambda _: summarize(sample.image, sample.valid)[1])
    return augmentation.build(config.augmentation)(stored, window, seed, parts.plane("label"), parts.plane("instances"))


def patches(config: Any, sample: Sample, tile: int = 20, size: int = 36) -> PatchDataset:
    made, targets = augmentation.build(config.augmentation), losses.targets(config.loss)
    return PatchDataset(in_memory([sample]), Normalization(mode="image"), tile, size, made, targets, 0)


def blob(height: int = 240, width: int = 240) -> Sample:
    """A disc with a soft edge of one object in the middle."""
    rows, columns = np.mgrid[:height, :width]
    radius = np.hypot(rows - (height - 1) / 2, columns - (width - 1) / 2)
    image = np.rint(30 + 180 * (12.5 - radius).clip(0, 1)).astype(np.uint8)[..., None]
    label = (radius < 12).astype(np.uint8)
    return Sample("blob", image, label, label.astype(np.int32) * 70_001)


def coded(height: int = 60, width: int = 70, kind: Any = np.uint8) -> Sample:
    """Objects of 10 x 10 px, each of one grey value and one class."""
    rows, columns = np.mgrid[:height, :width] // 10
    number = rows * (width // 10 + 1) + columns + 1
    label = (number % 3).astype(np.uint8)
    image = (number * 2).astype(kind)[..., None]
    return Sample("coded", image, label, (number * 100_000 + label).astype(np.int32))


def centre(mass: NDArray[Any]) -> NDArray[np.float64]:
    places = np.mgrid[: mass.shape[0], : mass.shape[1]].reshape(2, -1)
    return (places * mass.ravel()).sum(axis=1) / mass.sum()


def test_the_table_is_that_of_the_library() -> None:
    from unet_exp.augmentation.listed import albumentations as library

    kinds = (library.BasicTransform, library.BaseCompose)
    there = {name for name, one in vars(library).items() if inspect.isclass(one) and issubclass(one, kinds)}
    assert len(USED) == len(set(USED))
    assert not set(USED) & set(REFUSED)
    assert {*USED, *REFUSED} == there
    for name in USED:
        one = getattr(library, name)
        assert issubclass(one, library.BaseCompose) == (name in CONTAINERS)
        assert issubclass(one, library.ImageOnlyTransform) == (name in VALUES)
        assert issubclass(one, library.DualTransform) == (name in (*TURNS, *MOVES, *DROPS))


@pytest.mark.parametrize(("draws", "bound"), [(12, 0.08), pytest.param(300, 0.01, marks=pytest.mark.slow)])
def test_image_label_and_ids_stay_aligned(draws: int, bound: float) -> None:
    """The centre of an object in the image, the label and the ids, over the list of the page."""
    sample, config, shifts = blob(), config_of(INSTANCES), []
    for seed in range(draws):
        patch, label, ids = cut(config, sample, Window(60, 60, 120), seed)
        assert set(np.unique(label)) <= {0, 1}
        assert ((ids == 70_001) == (label == 1)).all()
        assert (ids[label == 0] == 0).all()
        low, high = np.percentile(patch, [40, 99.8])
        shifts.append(centre(((patch[..., 0] - low) / (high - low) > 0.5) * 1.0) - centre(label))
    assert np.abs(np.mean(shifts, axis=0)).max() < bound
    assert np.abs(shifts).max() < 0.5


@pytest.mark.parametrize("name", sorted({*TURNS, *MOVES} - {"GridElasticDeform", "PiecewiseAffine"}))
def test_every_transform_that_moves_pixels_moves_maps_with_them(name: str) -> None:
    """Without interpolation, the grey value of a pixel tells its object."""
    sample = coded(120, 120)
    entry = {"name": name, "p": 1}
    if name == "ElasticTransform":
        entry |= {"alpha": 60, "sigma": 6}
    if name not in TURNS:
        entry["interpolation"] = "nearest"
    for seed in range(2):
        patch, label, ids = cut(config_of([entry]), sample, Window(30, 30, 60), seed)
        grey, known = np.rint(patch[..., 0] * 255), label != IGNORE_LABEL
        assert known.mean() > 0.7
        assert (ids // 100_000 == grey / 2)[known].mean() > 0.98  # OpenCV rounds places of images a little else
        assert (ids % 100_000 == label)[known].all()


@given(st.integers(0, 2**31 - 1), st.sampled_from(TYPES), st.integers(-40, 60), st.booleans())
def test_maps_keep_their_values_and_what_does_not_count_is_ignored(
    seed: int, kind: Any, top: int, mirror: bool
) -> None:
    sample = coded(kind=kind)
    config = config_of(INSTANCES, context=5, outside="mirror" if mirror else "ignore")
    patch, label, ids = cut(config, sample, Window(top, 10, 32, -4), seed)
    assert (patch.shape, patch.dtype, label.shape, label.dtype) == ((32, 32, 1), np.float32, (24, 24), np.uint8)
    assert ids.dtype == np.int32
    assert set(np.unique(label)) <= {0, 1, 2, IGNORE_LABEL}
    assert set(np.unique(ids)) <= {0, *np.unique(sample.instances)}
    assert ((ids == 0) == (label == IGNORE_LABEL)).all()
    assert (ids % 100_000 == label)[ids > 0].all()
    again = cut(config, sample, Window(top, 10, 32, -4), seed)
    assert all(np.array_equal(one, other) for one, other in zip((patch, label, ids), again, strict=True))


@pytest.mark.parametrize("kind", TYPES)
def test_pixels_of_every_type_come_back(kind: Any) -> None:
    """Also those of a constant image, and beyond the border."""
    values = noise(50, 40, 2) * 40 + 100
    flat = np.full((50, 40, 2), 9, kind)
    for image in (values.astype(kind), flat):
        sample = Sample("a", image, np.zeros((50, 40), np.uint8))
        (plain,) = [patches(parse(words("augmentation=none")), sample)[Draw(0, 3, 0)]]
        for config in (config_of([{"name": "NoOp"}]), then("none", [{"name": "NoOp", "p": 1}])):
            found = patches(config, sample)[Draw(0, 3, 0)]
            assert np.abs((found["image"] - plain["image"]).numpy()).max() < 1e-4


def test_a_transform_sees_stored_pixels_of_the_whole_images_range() -> None:
    image = np.full((40, 40, 1), 1000, np.uint16)
    image[0, 0], image[0, 1] = 500, 4500
    sample = Sample("a", image, np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.int32))
    brighter = config_of(
        [{"name": "RandomBrightnessContrast", "brightness_limit": [0.1, 0.1], "contrast_limit": 0, "p": 1}]
    )
    patch, *_ = cut(brighter, sample, Window(10, 10, 20), 0)
    np.testing.assert_allclose(patch * 65535, 1000 + 0.1 * 4000, rtol=1e-3)


class TestInventedPixels:
    SHRINK: ClassVar = {"name": "Affine", "scale": 0.5, "p": 1}

    def test_are_ignored_and_zero(self) -> None:
        patch, label, ids = cut(config_of([self.SHRINK], context=0), coded(), Window(10, 10, 40), 0)
        assert 0.7 < (label == IGNORE_LABEL).mean() < 0.8
        assert ((patch[..., 0] == 0) == (label == IGNORE_LABEL)).all()
        assert (ids[label == IGNORE_LABEL] == 0).all()

    def test_are_not_there_with_enough_context(self) -> None:
        sample = coded(300, 300)
        for shrink in (
            self.SHRINK,
            {"name": "Rotate", "limit": 180, "p": 1},
            {"name": "Affine", "translate_px": 30, "p": 1},
            {"name": "Affine", "shear": {"x": 40, "y": 0}, "p": 1},
        ):
            _, label, _ = cut(config_of([shrink]), sample, Window(120, 120, 60), 1)
            assert (label != IGNORE_LABEL).all(), shrink

    def test_count_where_they_are_asked_for(self) -> None:
        mirrored = {**self.SHRINK, "border_mode": "reflect_101"}
        patch, label, _ = cut(config_of([mirrored], context=0), coded(), Window(10, 10, 40), 0)
        assert (patch > 0).all()
        assert (label != IGNORE_LABEL).all()
        classed = {**self.SHRINK, "fill": 20, "fill_mask": 2}
        patch, label, ids = cut(config_of([classed], context=0), coded(), Window(10, 10, 40), 0)
        assert (patch[label == IGNORE_LABEL] > 0).all()
        assert set(np.unique(label[ids == 0])) == {2}

    def test_dropped_parts_keep_their_label_unless_told(self) -> None:
        hole = {"name": "CoarseDropout", "num_holes_range": [1, 1], "hole_height_range": [9, 9], "p": 1}
        hole["hole_width_range"] = [9, 9]
        patch, label, _ = cut(config_of([hole]), coded(), Window(10, 10, 40), 0)
        assert (patch == 0).sum() == 81
        assert (label != IGNORE_LABEL).all()
        _, label, ids = cut(config_of([{**hole, "fill_mask": 255}]), coded(), Window(10, 10, 40), 0)
        assert (label == IGNORE_LABEL).sum() == (ids == 0).sum() == 81


@pytest.mark.parametrize("transforms", [[{"name": "RandomGamma"}], [{"name": "Rotate", "p": 1}], [{"name": "D4"}]])
def test_beyond_the_image_the_input_is_mirrored_and_the_label_ignored_or_mirrored(transforms: list[Any]) -> None:
    sample, window = coded(), Window(-30, 20, 40)
    patch, label, ids = cut(config_of(transforms), sample, window, 1)
    assert (patch > 0).all()
    assert 0.5 < (label == IGNORE_LABEL).mean() < 0.9
    assert ((ids == 0) == (label == IGNORE_LABEL)).all()
    same, label, _ = cut(config_of(transforms, outside="mirror"), sample, window, 1)
    assert (label != IGNORE_LABEL).all()
    assert np.array_equal(patch, same)


@pytest.mark.parametrize("transforms", [INSTANCES, [{"name": "GaussianBlur", "p": 1}]])
def test_pixels_without_data_move_along_and_stay_zero(transforms: list[Any]) -> None:
    whole = coded(100, 100)
    valid = np.mgrid[:100, :100][1] > 50
    image, label = np.where(valid[..., None], whole.image, 0), np.where(valid, whole.label, IGNORE_LABEL)
    sample = Sample("a", image, label.astype(np.uint8), valid=valid)
    shares = []
    for position in range(5):
        patch = patches(config_of(transforms, outside="mirror"), sample, 36, 36)[Draw(0, position, 0)]
        assert ((patch["image"][0] == 0) == (patch["label"] == IGNORE_LABEL)).all()
        shares.append(float((patch["label"] == IGNORE_LABEL).float().mean()))
    assert 0 < np.mean(shares) < 1


def test_weights_are_those_of_the_moved_label_and_values_alone_leave_them() -> None:
    values = {**words("augmentation=albumentations", "loss=border_weighted")}
    build = lambda listed: parse({**values, "augmentation": {**values["augmentation"], "transforms": listed}})  # noqa: E731
    for listed, deforms in ((INSTANCES, True), ([{"name": "D4"}], False), ([{"name": "GaussNoise"}], False)):
        config = build(listed)
        assert augmentation.build(config.augmentation).deforms == deforms
        found = patches(config, coded(100, 100))[Draw(0, 0, 0)]
        assert found["weights"].shape == found["label"].shape == (20, 20)
        assert found["weights"].max() > 0
    plain = parse({**values, "augmentation": words("augmentation=none")["augmentation"]})
    before = patches(plain, coded(100, 100))[Draw(0, 1, 0)]
    after = patches(build([{"name": "GaussNoise", "p": 1}]), coded(100, 100))[Draw(0, 1, 0)]
    assert np.array_equal(before["weights"], after["weights"])
    assert not np.array_equal(before["image"], after["image"])


SLOW = pytest.mark.slow


class TestAfterOurs:
    @pytest.mark.parametrize("word", ["paper", pytest.param("flips", marks=SLOW), pytest.param("strong", marks=SLOW)])
    def test_nothing_after_ours_changes_only_the_rounding(self, word: str) -> None:
        sample = Sample("a", (noise(90, 90, 1) * 20 + 120).astype(np.uint8), np.zeros((90, 90), np.uint8))
        ours = patches(parse(words(f"augmentation={word}")), sample)[Draw(0, 2, 0)]
        listed = patches(
            then(word, [{"name": "NoOp", "p": 1}], device="cpu")
            if word != "flips"
            else then(word, [{"name": "NoOp", "p": 1}]),
            sample,
        )[Draw(0, 2, 0)]
        step = 1 / sample.image.std()  # of 8 bits
        assert np.abs((ours["image"] - listed["image"]).numpy()).max() < 0.51 * step
        assert np.array_equal(ours["label"], listed["label"])

    def test_what_moves_pixels_moves_the_label(self) -> None:
        config = then("flips", [{"name": "Rotate", "limit": [30, 30], "p": 1}])
        patch, label, ids = cut(config, coded(120, 120), Window(40, 40, 40), 5)
        assert (ids % 100_000 == label).all()
        assert (np.rint(patch[..., 0] * 255) == ids // 100_000 * 2).mean() > 0.6

    def test_it_is_made_on_the_cpu(self) -> None:
        import torch

        from unet_exp.training.device_patches import resolve_place

        listed = then("paper", [{"name": "GaussNoise"}])
        assert resolve_place(listed, torch.device("cuda"), 1) == "cpu"
        with pytest.raises(ConfigError, match=r"augmentation.device=gpu: the transforms of augmentation.then run on"):
            then("paper", [{"name": "GaussNoise"}], device="gpu")

    def test_an_earlier_runs_config_has_none(self) -> None:
        values = words("augmentation=paper")
        earlier = {key: value for key, value in values["augmentation"].items() if key != "then"}
        assert parse({**values, "augmentation": earlier}) == parse(values)


MISTAKES = [
    ([], "augmentation.transforms is empty: list at least one"),
    (["Rotate"], r"augmentation.transforms\[0\]='Rotate': must be a transform such as \{name: Rotate, limit: 30\}"),
    ([{"nme": "Rotate"}], r"augmentation.transforms\[0\]: the key name is missing"),
    ([{"name": "rotate"}], r"augmentation.transforms\[0\].name='rotate': .* \(did you mean Rotate\?\)"),
    ([{"name": ["Rotate"]}], r"augmentation.transforms\[0\].name=\['Rotate'\]: albumentations has no such"),
    ([{"name": "D4"}, {"name": "GausNoise"}], r"augmentation.transforms\[1\].name='GausNoise': .*mean Gauss"),
    ([{"name": "OneOf", "transforms": [{"name": "Bluur"}]}], r"\[0\].transforms\[0\].name='Bluur'.*mean Blur"),
    ([{"name": "OneOf"}], r"augmentation.transforms\[0\]: OneOf needs transforms: \[...\]"),
    ([{"name": "RandomCrop", "height": 9, "width": 9}], "name=RandomCrop cannot be used: it changes the size"),
    ([{"name": "Normalize"}], "name=Normalize cannot be used: it changes the type or range.*data.normalization"),
    ([{"name": "FDA"}], "name=FDA cannot be used: it needs other images.*augmentation=custom"),
    ([{"name": "Rotate", "p": 1.5}], r"augmentation.transforms\[0\].p=1.5: should be a probability"),
    ([{"name": "Rotate", "mask_interpolation": 1}], "interpolation cannot be set: labels and ids are never mixed"),
    ([{"name": "Affine", "fit_output": True}], r"fit_output cannot be set: the size of a patch is fixed"),
    ([{"name": "Rotate", "fill_mask": 1.5}], r"\[0\].fill_mask=1.5: should be the number of a class, or 255"),
    ([{"name": "Rotate", "fill_mask": True}], r"\[0\].fill_mask=True: should be the number of a class, or 255"),
    ([{"name": "Rotate", "limt": 3}], r"transforms\[0\]: Rotate: it has no argument limt \(did you mean limit"),
    ([{"name": "Blur", "blur_limit": "x"}], r"^augmentation.transforms\[0\]: Blur: blur_limit='x': should be"),
    ([{"name": "GridElasticDeform"}], "GridElasticDeform: it needs the argument num_grid_xy"),
    ([{"name": "Affine", "interpolation": "best"}], "interpolation='best': should be 0, 1.*such as cubic"),
    ([{"name": "SomeOf", "transforms": [{"name": "D4"}], "number": 1}], "SomeOf: it has no argument number.*it takes"),
    ([{"name": "ChromaticAberration"}], "ChromaticAberration does not take images of 32 x 32 px with 1 channel"),
    ([{"name": "XYMasking", "num_masks_x": 1, "mask_x_length": 900}], "XYMasking does not take images of 32 x 32"),
]  # fmt: skip


@pytest.mark.parametrize(("transforms", "message"), MISTAKES)
def test_each_mistake_is_one_line(transforms: list[Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        start(lambda: config_of(transforms))
    assert "\n" not in str(raised.value)
    if transforms:
        with pytest.raises(ConfigError, match=r"augmentation\.then\["):
            start(lambda: then("flips", transforms))


def start(make: Callable[[], Any]) -> None:
    """What a training does with an augmentation before it starts."""
    config = make().augmentation
    augmentation.try_augmentation(config, augmentation.build(config), 32, 1, np.dtype(np.uint8))


@pytest.mark.slow
def test_batches_are_equal_for_any_number_of_workers() -> None:
    samples = [Sample(name, coded().image, coded().label % 2, coded().instances) for name in "abcd"]
    classes = tuple(ClassSpec(name=name, value=value, color=[value] * 3) for value, name in enumerate(("back", "cell")))
    dataset = DataSet.of(samples, samples[:1], samples[:1], [], classes, 1)
    small = ("data.batch_size=2", "model.depth=3", "model.width=2", "data.tile=12", "loss=border_weighted")
    values = words("augmentation=albumentations", *small)

    def batches(workers: int) -> list[dict[str, Any]]:
        changed = {"augmentation": {**values["augmentation"], "transforms": INSTANCES}}
        changed["data"] = {**values["data"], "num_workers": workers}
        data = SegmentationData(parse({**values, **changed}), dataset, Normalization(mode="image"))
        return list(data.train_dataloader())

    alone, shared = batches(0), batches(3)
    assert len(alone) == len(shared) > 2
    assert not any(list(differences(one, other)) for one, other in zip(alone, shared, strict=True))
    distinct = {item.numpy().tobytes() for batch in shared for item in batch["image"]}
    assert len(distinct) == sum(len(batch["image"]) for batch in shared)


def test_the_commands_of_the_page_can_start_and_the_first_trains(train: Any) -> None:
    import shlex

    commands = [
        [word for word in shlex.split(command) if word.startswith("augmentation")]
        for block in re.findall(r"^```bash\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
        for command in re.sub(r"\\\n", " ", block).split("python scripts/train.py")
        if "augmentation.t" in command and "target" not in command
    ]
    assert len(commands) == 2
    for typed in commands:
        start(lambda typed=typed: parse(words(*typed)))
    assert train(*commands[0], "trainer.max_steps=1").read_summary().status == "finished"
