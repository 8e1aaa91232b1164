"""What a patch's targets are: the weights of the whole image, or of the label as it was deformed."""

import pickle
from typing import Any

import numpy as np
import pytest
from conftest import composed
from numpy.typing import NDArray
from patterns import Array, in_memory, ramps

from unet_exp import augmentation, losses
from unet_exp.augmentation import Augmentation, Window
from unet_exp.config import parse
from unet_exp.data.sets.synthetic import generate
from unet_exp.losses import Targets
from unet_exp.samples.normalization import Normalization
from unet_exp.samples.sample import Region, Sample
from unet_exp.training.draws import Draw
from unet_exp.training.patches import PatchDataset
from unet_exp.weight_map import border_term, find_instances

STILL = ("augmentation.shift=0", "augmentation.contrast=0", "augmentation.brightness=0")


def build(word: str, *others: str) -> Augmentation:
    return augmentation.build(parse(composed(f"augmentation={word}", *others)).augmentation)


def everything() -> Augmentation:
    """As `augmentation=paper` has it, and flips."""
    return build("paper", "augmentation.flip=true")


class Watched:
    """An augmentation that remembers what it was asked for."""

    def __init__(self, inner: Augmentation) -> None:
        self._inner = inner
        self.deforms = inner.deforms
        self.calls: list[tuple[Window, int, tuple[Array, ...]]] = []

    def __call__(self, image: NDArray[np.float32], window: Window, seed: int, *maps: Array) -> tuple[Array, ...]:
        self.calls.append((window, seed, maps))
        return self._inner(image, window, seed, *maps)


class Counted:
    """Targets that remember how often they were asked."""

    def __init__(self, inner: Targets) -> None:
        self._inner = inner
        self.reach = inner.reach
        self.calls = 0

    def __call__(self, label: NDArray[np.uint8], instances: NDArray[np.int32] | None) -> Any:
        self.calls += 1
        return self._inner(label, instances)


def targets(*overrides: str) -> Targets:
    return losses.targets(parse(composed(*overrides)).loss)


def cells(size: int = 120, index: int = 0, with_instances: bool = True) -> Sample:
    """A generated label beside an image that shows each pixel's row and column."""
    made = generate(size, size, 0, index)
    return Sample(str(index), ramps(size, size), made.label, made.instances if with_instances else None)


BORDER = ("loss=border_weighted",)
AS_IT_IS = Normalization(mode="none")


@pytest.mark.parametrize("name", ["none", "flips"])
@pytest.mark.parametrize("with_instances", [True, False])
def test_without_deformation_weights_are_the_whole_image_s_computed_once(name: str, with_instances: bool) -> None:
    samples = [cells(index=index, with_instances=with_instances) for index in range(2)]
    asked = Counted(targets(*BORDER))
    dataset = PatchDataset(in_memory(samples), AS_IT_IS, 36, 60, build(name), asked, 3)
    assert asked.calls == 0, "not before they are needed"
    for position in range(12):
        index = position % 2
        item = dataset[Draw(0, position, index)]
        label, weights = targets(*BORDER)(samples[index].label, samples[index].instances)  # type: ignore[arg-type]
        rows, columns = item["image"].numpy().astype(int)[:, 12:48, 12:48]
        assert weights is not None
        assert item.keys() == {"image", "label", "weights"}
        assert item["weights"].numpy().dtype == np.float32
        assert (item["weights"].numpy() == weights[rows, columns]).all()
        assert (item["label"].numpy() == label[rows, columns]).all()
    assert asked.calls == 2


@pytest.mark.parametrize("with_instances", [True, False])
@pytest.mark.parametrize("input_size", [36, 41, 120])
def test_with_deformation_weights_are_those_of_the_deformed_label(input_size: int, with_instances: bool) -> None:
    sample, tile = cells(with_instances=with_instances), 36
    assert sample.label is not None
    watched = Watched(everything())
    dataset = PatchDataset(in_memory([sample]), AS_IT_IS, tile, input_size, watched, targets(*BORDER), 3)
    for position in range(4):
        item = dataset[Draw(0, position, 0)]
        assert {name: tuple(array.shape) for name, array in item.items()} == {
            "image": (2, input_size, input_size),
            "label": (tile, tile),
            "weights": (tile, tile),
        }
        window, seed, maps = watched.calls[-1]
        assert window.size == input_size, "what is drawn refers to the network's input alone"
        assert len(maps) == 2
        # Once more with ample surround, from the whole image's objects.
        whole = find_instances(sample.label) if sample.instances is None else sample.instances
        wide = window._replace(surround=70)
        patch, label, instances = everything()(sample.image.astype(np.float32), wide, seed, sample.label, whole)
        expected_label, expected = targets(*BORDER)(label, instances)
        assert expected is not None
        middle = (input_size - tile) // 2
        inner, outer = slice(middle, middle + tile), slice(70 + middle, 70 + middle + tile)
        np.testing.assert_allclose(item["image"][:, inner, inner], patch.transpose(2, 0, 1)[:, inner, inner], atol=1e-3)
        assert (item["label"].numpy() == expected_label[outer, outer]).mean() > 0.999
        difference = np.abs(item["weights"].numpy() - expected[outer, outer])
        assert (difference < 1e-3).mean() > 0.99


def test_the_distance_term_follows_the_deformed_label() -> None:
    sample = cells()
    unbalanced = targets(*BORDER, "loss.open_touching=false")
    dataset = PatchDataset(in_memory([sample]), AS_IT_IS, 100, 200, build("paper", *STILL), unbalanced, 0)
    watched = Watched(build("paper", *STILL))
    again = PatchDataset(in_memory([sample]), AS_IT_IS, 100, 200, watched, unbalanced, 0)
    for position in range(3):
        item = dataset[Draw(1, position, 0)]
        again[Draw(1, position, 0)]
        window, seed, maps = watched.calls[-1]
        _, instances = build("paper", *STILL)(sample.image, window._replace(surround=0), seed, maps[1])
        expected = border_term(instances, w0=10, sigma=5, where="background")[50:150, 50:150]
        assert expected.max() > 5
        np.testing.assert_allclose(item["weights"].numpy(), expected, atol=1e-5)


def test_a_loss_without_weights_moves_the_label_alone() -> None:
    for augment in (everything(), build("flips")):
        watched = Watched(augment)
        dataset = PatchDataset(in_memory([cells()]), AS_IT_IS, 20, 44, watched, targets("loss=cross_entropy"), 0)
        item = dataset[Draw(0, 0, 0)]
        assert item.keys() == {"image", "label"}
        ((window, _, maps),) = watched.calls
        assert (window.size, window.surround, len(maps)) == (44, -12, 1)


def test_the_loss_does_not_change_the_patches() -> None:
    sample = cells()
    plainly, weighted = (
        PatchDataset(in_memory([sample]), AS_IT_IS, 40, 44, everything(), targets(*words, "loss.class_weights=null"), 0)
        for words in (("loss=cross_entropy",), (*BORDER, "loss.open_touching=false"))
    )
    for position in range(3):
        one, other = (dataset[Draw(0, position, 0)] for dataset in (plainly, weighted))
        np.testing.assert_allclose(one["image"], other["image"], atol=1e-3)
        assert (one["label"] == other["label"]).float().mean() > 0.999


@pytest.mark.parametrize("word", ["none", "flips", "paper", "strong"])
@pytest.mark.parametrize("input_size", [36, 41, 120])
@pytest.mark.parametrize("words", [BORDER, ("loss=cross_entropy",)])
def test_a_patch_reads_its_image_as_often_as_it_must(word: str, input_size: int, words: tuple[str, ...]) -> None:
    sample, target = cells(), targets(*words)
    images = in_memory([sample])
    dataset = PatchDataset(images, AS_IT_IS, 36, input_size, build(word), target, 3, keep_targets=False)
    with pytest.MonkeyPatch.context() as patch:
        read: list[Region | None] = []
        genuine = type(images).read
        patch.setattr(type(images), "read", lambda *asked: (read.append(asked[-1]), genuine(*asked))[1])
        dataset[Draw(0, 1, 0)]
    # Where the weights of the whole image are cut, what they depend on may reach farther than the input.
    assert len(read) <= (2 if word in ("none", "flips") and target.reach and input_size < 120 else 1)


def test_a_data_set_can_be_sent_to_a_spawned_worker() -> None:
    dataset = PatchDataset(in_memory([cells()]), AS_IT_IS, 36, 60, everything(), targets(*BORDER), 0)
    sent = pickle.loads(pickle.dumps(dataset))
    one, other = dataset[Draw(0, 1, 0)], sent[Draw(0, 1, 0)]
    assert one.keys() == other.keys()
    assert all((one[key] == other[key]).all() for key in one)
