"""Deep supervision: each logit of a lower level beside the labels of the pixels that it covers, and what follows."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import TINY, composed, options, run_training, summary
from hypothesis import given, settings
from hypothesis import strategies as st
from run_folders import check_folder
from torch import Tensor, nn

from unet_exp import geometry, losses
from unet_exp.checkpoints.opening import open_checkpoint
from unet_exp.config import IGNORE_LABEL, Config, parse
from unet_exp.errors import ConfigError
from unet_exp.geometry import Architecture, output_borders
from unet_exp.inference.predictor import Predictor
from unet_exp.losses import CrossEntropy, supervise
from unet_exp.network import UNet

VALID = Architecture("valid", "crop", 4, 4, 1, 2, "concat", "none", "transposed", deep_supervision=True)
BASES = {
    "valid": VALID,
    "same": replace(VALID, padding="same", align="exact"),
    "pad": replace(VALID, padding="same", align="pad"),
}
Interval = tuple[int, int]
some = settings(max_examples=60, deadline=None, derandomize=True)


def trace(made: Architecture, size: int) -> list[list[Interval]]:
    """For each level of the decoder, the pixels of the input that each pixel of its map covers, along an axis.

    Carried through the network map by map, as convolutions, pooling, up-sampling, cropping and padding move them.
    """

    def convolved(pixels: list[Interval]) -> list[Interval]:
        return pixels[2:-2] if made.padding == "valid" else pixels

    def pooled(pixels: list[Interval]) -> list[Interval]:
        return [(low, high) for (low, _), (_, high) in zip(pixels[::2], pixels[1::2], strict=False)]

    pixels = [(pixel, pixel + 1) for pixel in range(size)]
    skips = []
    for level in range(made.depth):
        pixels = convolved(pooled(pixels) if level else pixels)
        skips.append(pixels)
    skips.pop()
    found = []
    for skip in reversed(skips):
        pixels = [part for low, high in pixels for part in ((low, (low + high) // 2), ((low + high) // 2, high))]
        if made.align == "crop":
            gone = (len(skip) - len(pixels)) // 2
            skip = skip[gone : gone + len(pixels)]
        assert skip[: len(pixels)] == pixels, "decoder and skip show one place"
        pixels = convolved(skip)
        found.append(pixels)
    return found[::-1]


@st.composite
def patches(draw: st.DrawFn) -> tuple[Architecture, int, int]:
    """An architecture, a labelled side, and the side of the network's input, the smallest one or larger."""
    made = replace(BASES[draw(st.sampled_from(list(BASES)))], depth=draw(st.integers(2, 5)))
    tile = draw(st.integers(1, 40))
    return made, tile, geometry.input_for_output(made, tile + draw(st.sampled_from([0, 0, 7])))


class Spy(nn.Module):
    """A loss that keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Tensor, Tensor, Tensor | None]] = []

    def forward(self, logits: Tensor, label: Tensor, weights: Tensor | None) -> Tensor:
        self.seen.append((logits, label, weights))
        return torch.zeros(())


@some
@given(patches())
def test_each_logit_is_compared_with_the_labels_of_the_pixels_that_it_covers(
    patch: tuple[Architecture, int, int],
) -> None:
    made, tile, size = patch
    traced, before = trace(made, size), (size - tile) // 2
    assert output_borders(made) == tuple(pixels[0][0] for pixels in traced)
    # The logits are the numbers of their pixels, and the labels those of theirs in the labelled patch.
    outputs = [torch.stack(torch.meshgrid(*2 * [torch.arange(len(p))], indexing="ij"))[None] for p in traced]
    label = torch.arange(tile * tile).view(1, tile, tile)
    spy = Spy()
    supervise(spy, outputs, output_borders(made), [0.5] * len(outputs), label, 2.0 * label, before)
    assert len(spy.seen) == made.depth - 1
    for pixels, (logits, target, weights) in zip(traced, spy.seen, strict=True):
        assert weights is not None
        assert torch.equal(weights, 2.0 * target)
        expected = {}
        for number in range(tile * tile):
            places = [before + number // tile, before + number % tile]
            owners = [[i for i, (low, high) in enumerate(pixels) if low <= place < high] for place in places]
            if all(owners):
                expected[number] = [owners[0][0], owners[1][0]]
        assert dict(zip(target.flatten().tolist(), logits[0].flatten(1).T.tolist(), strict=True)) == expected
        assert made.align == "pad" or len(expected) == tile * tile, "only padding leaves pixels without an owner"


@pytest.mark.parametrize("base", list(BASES))
def test_a_mean_over_pixels_is_one_of_coarse_labels_with_shares(base: str) -> None:
    """Cross-entropy with weights, written out: a coarse label holds what each class weighs in the pixels it covers."""
    made, tile = BASES[base], 24
    size = geometry.input_for_output(made, tile)
    before, random = (size - tile) // 2, torch.Generator().manual_seed(3)
    outputs = [torch.randn(2, 3, len(p), len(p), generator=random) for p in trace(made, size)]
    label = torch.randint(0, 4, (2, tile, tile), generator=random).to(torch.uint8)
    label[label == 3] = IGNORE_LABEL
    pixel_weights = torch.rand(2, tile, tile, generator=random)
    of_class = torch.tensor([1.0, 2.0, 0.5])
    expected = 0.0
    for level, (logits, border) in enumerate(zip(outputs, output_borders(made), strict=True)):
        side = 2**level
        counts = torch.zeros(2, 3, side * logits.shape[-1], side * logits.shape[-1])
        inside = slice(before - border, before - border + tile)
        for number in range(3):
            here = label == number
            counts[:, number, inside, inside] = here * (of_class[number] + pixel_weights)
        shares = F.avg_pool2d(counts, side) * side**2
        expected += 0.1 * (level + 1) * float((-logits.log_softmax(dim=1) * shares).sum() / shares.sum())
    weights = [0.1, 0.2, 0.3]
    found = supervise(
        CrossEntropy(of_class.tolist()), outputs, output_borders(made), weights, label, pixel_weights, before
    )
    assert float(found) == pytest.approx(expected, rel=1e-5)


def config(*words: str) -> Config:
    return parse(composed("model.width=4", *words))


@pytest.mark.parametrize("word", options("loss"))
@pytest.mark.parametrize("model", ["valid", "pad"])
def test_every_loss_trains_every_head(model: str, word: str) -> None:
    made = config(f"model={model}", "model.depth=4", "model.deep_supervision=true", f"loss={word}")
    loss, network = losses.build(made.loss, None), UNet(made.architecture(1, 2))  # type: ignore[arg-type]
    size = geometry.input_for_output(network.architecture, 21)
    label = torch.randint(0, 2, (2, 21, 21), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    label[:, :5] = IGNORE_LABEL
    outputs = network(torch.randn(2, 1, size, size))
    assert [one.shape[1] for one in outputs] == 3 * [made.architecture(1, 2).out_channels]
    weights = torch.rand(2, 21, 21) if word == "border_weighted" else None
    borders, before = output_borders(network.architecture), (size - 21) // 2
    value = supervise(loss, outputs, borders, made.level_weights, label, weights, before)
    assert value.isfinite()
    value.backward()
    for head in (network.head, *network.side_heads):
        assert head.weight.grad.abs().sum() > 0


def test_without_it_a_loss_is_the_same_to_the_bit() -> None:
    logits, label = torch.randn(1, 2, 12, 12), torch.randint(0, 2, (1, 9, 9))
    expected = CrossEntropy()(logits[..., 1:10, 1:10], label)
    assert torch.equal(supervise(CrossEntropy(), [logits], (8,), (1.0,), label, None, 9), expected)


# --- the words ---


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["model.depth=5"], [1]),
        (["model.depth=1", "model.deep_supervision=true"], [1]),
        (["model.depth=2", "model.deep_supervision=true"], [1]),
        (["model.depth=5", "model.deep_supervision=true"], [8 / 15, 4 / 15, 2 / 15, 1 / 15]),
        (["model.depth=4", "model.deep_supervision=true", "model.deep_supervision_weights=[3,1,0]"], [0.75, 0.25, 0]),
    ],
)
def test_weights_are_halved_from_level_to_level_or_as_typed(words: list[str], expected: Sequence[float]) -> None:
    made = config(*words)
    assert made.level_weights == pytest.approx(expected)
    assert len(output_borders(made.architecture(1, 2))) == len(expected)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["model.deep_supervision_weights=[1,1,1,1]"], "needs model.deep_supervision=true"),
        (["model.deep_supervision=true", "model.deep_supervision_weights=[1,1]"], "model.depth=5 has 4 levels in its"),
        (["model.deep_supervision=true", "model.deep_supervision_weights=[0,1,1,1]"], "give it its share"),
        (["model.deep_supervision=true", "model.deep_supervision_weights=[0,0,0,0]"], "give it its share"),
        (["model.deep_supervision=true", "model.deep_supervision_weights=[1e308,1e308,1,1]"], "give it its share"),
        (["model.deep_supervision=true", "model.deep_supervision_weights=[1,-1,1,1]"], "deep_supervision_weights"),
        (["model.deep_supervision=true", "model.deep_supervision_weights=[]"], "deep_supervision_weights"),
        (["model.block=dense"], "model.block='dense': should be 'plain' or 'residual'"),
        (["model.block=residual", "model=custom", "model.target=a.B"], "unknown key model.block: it is of model="),
    ],
)
def test_mistakes(words: list[str], part: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(composed(*words))
    assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_a_config_of_an_earlier_version_has_plain_blocks_and_one_loss() -> None:
    values: dict[str, Any] = composed()
    later = ("block", "deep_supervision", "deep_supervision_weights")
    earlier = {**values, "model": {key: value for key, value in values["model"].items() if key not in later}}
    assert parse(earlier) == parse(values)


# --- a training ---


@pytest.mark.slow
def test_a_training_predicts_with_the_full_resolution_alone(tmp_path: Any) -> None:
    blocks = ["fusion=attention", "model.block=residual", "model.norm=batch", "model.deep_supervision=true"]
    words = [*TINY, "model=pad", "model.depth=3", *blocks]
    folder = run_training(tmp_path, "loss=border_weighted", "trainer.ema_decay=0.9", base=words)
    check_folder(folder)
    checkpoint = open_checkpoint(folder.best)
    network = checkpoint.network()
    assert [name for name in checkpoint.weights if name.startswith("side_heads")]
    assert isinstance(network(torch.randn(1, 1, 37, 41)), Tensor)
    assert not Predictor(checkpoint, "cpu", "32").networks[0].training
    assert "conv 1x1, in training" in "\n".join(geometry.layer_table(network.architecture, 37))
    fresh = run_training(tmp_path, f"init_from={folder.path}", "data.organelles=true", base=words)
    assert summary(fresh)["status"] == "finished", "with other classes, all heads start fresh"
    plain = run_training(tmp_path, f"init_from={folder.path}", "model.deep_supervision=false", base=words)
    assert not [name for name in open_checkpoint(plain.best).weights if name.startswith("side_heads")]
    again = run_training(tmp_path, f"init_from={plain.path}", base=words)
    assert open_checkpoint(again.best).weights.keys() == checkpoint.weights.keys()
