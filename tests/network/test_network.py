"""The network against a plain reading of Fig. 1, and what every variant promises."""

from dataclasses import replace
from math import sqrt
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from unet_exp import geometry
from unet_exp.errors import ConfigError
from unet_exp.geometry import Architecture, out_channels
from unet_exp.network import UNet, center_crop, probabilities

PAPER = Architecture("valid", "crop", 5, 64, 1, 2, "concat", "none", "transposed")
SMALL = replace(PAPER, width=4)
RELEASE = replace(SMALL, relu_after_upsample=True, keep_last_upsample_channels=True)
SAME = replace(SMALL, padding="same", align="exact")
PAD = replace(SMALL, padding="same", align="pad")
VARIANTS = {"valid": SMALL, "same": SAME, "pad": PAD, "release": RELEASE}
few = settings(max_examples=10, deadline=None, derandomize=True)


def randomise_biases(network: nn.Module) -> None:
    """Make the zero biases count."""
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.1)


# --- an independent reading of the paper ---


def paper_network(x: Tensor, convs: list[tuple[Tensor, Tensor]], padding: int = 0, release: bool = False) -> Tensor:
    """Fig. 1, arrow by arrow; `convs` are the weights and biases of the 23 convolutions in forward order."""
    weights = iter(convs)

    def blue(x: Tensor) -> Tensor:
        return F.conv2d(x, *next(weights), padding=padding).clamp(min=0)

    def red(x: Tensor) -> Tensor:
        return torch.stack(
            [x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)]
        ).amax(dim=0)  # fmt: skip

    def green(x: Tensor) -> Tensor:
        """Every pixel becomes a 2 x 2 block, by one matrix for each of the four places."""
        weight, bias = next(weights)
        batch, _, height, width = x.shape
        out = x.new_zeros(batch, weight.shape[1], 2 * height, 2 * width)
        for i in (0, 1):
            for j in (0, 1):
                out[..., i::2, j::2] = torch.einsum("bchw,cd->bdhw", x, weight[:, :, i, j])
        out = out + bias.view(1, -1, 1, 1)
        return out.clamp(min=0) if release else out

    def grey(up: Tensor, skip: Tensor) -> Tensor:
        gone = (skip.shape[-1] - up.shape[-1]) // 2
        cropped = skip[..., gone : gone + up.shape[-2], gone : gone + up.shape[-1]]
        return torch.cat([up, cropped], dim=1)

    left64 = blue(blue(x))
    left128 = blue(blue(red(left64)))
    left256 = blue(blue(red(left128)))
    left512 = blue(blue(red(left256)))
    bottom = blue(blue(red(left512)))
    right512 = blue(blue(grey(green(bottom), left512)))
    right256 = blue(blue(grey(green(right512), left256)))
    right128 = blue(blue(grey(green(right256), left128)))
    right64 = blue(blue(grey(green(right128), left64)))
    logits = F.conv2d(right64, *next(weights))
    assert next(weights, None) is None
    return logits


@pytest.mark.parametrize("name", ["valid", "same", "release"])
def test_it_computes_what_the_paper_draws(name: str) -> None:
    architecture = VARIANTS[name]
    network = UNet(architecture).double()
    randomise_biases(network)
    convs: list[tuple[Tensor, Tensor]] = []

    def note(module: Any, _: Any, __: Any) -> None:
        convs.append((module.weight, module.bias))

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.register_forward_hook(note)
    size = 204 if architecture.padding == "valid" else 48
    x = torch.randn(2, 1, size, size, dtype=torch.float64)
    ours = network(x)
    assert len(convs) == 23
    plain = paper_network(x, convs, padding=int(architecture.padding == "same"), release=name == "release")
    assert ours.shape == plain.shape
    torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-9)


# --- relations between the variants ---


@few
@given(st.integers(1, 5), st.sampled_from(["concat", "add", "none"]), st.sampled_from(["transposed", "bilinear"]))
def test_same_and_pad_are_one_function_on_sizes_legal_for_both(depth: int, fusion: Any, upsample: Any) -> None:
    same = replace(SAME, depth=depth, width=2, fusion=fusion, upsample=upsample)
    first, second = UNet(same), UNet(replace(same, align="pad"))
    second.load_state_dict(first.state_dict())
    x = torch.randn(1, 1, 2 ** (depth - 1), 2 * 2 ** (depth - 1))
    assert torch.equal(first(x), second(x))


def test_pad_adds_zeros_at_the_bottom_and_right() -> None:
    """A network of two levels with a 5-pixel side, written out."""
    network = UNet(replace(PAD, depth=2))
    randomise_biases(network)
    x = torch.randn(1, 1, 5, 6)
    down, bottom, decoder = network.encoder[0], network.encoder[1], network.decoder[0]
    assert isinstance(decoder.up, nn.Module)
    skip = down(x)
    up = decoder.up(bottom(F.max_pool2d(skip, 2)))
    assert up.shape[-2:] == (4, 6)
    padded = torch.cat([up, torch.zeros_like(up[..., :1, :])], dim=-2)
    assert isinstance(decoder.convs, nn.Module)
    torch.testing.assert_close(network(x), network.head(decoder.convs(torch.cat([padded, skip], dim=1))))


@pytest.mark.parametrize("size", [(16, 16), (17, 31), (37, 50)])
def test_pad_takes_any_size(size: tuple[int, int]) -> None:
    assert UNet(PAD)(torch.randn(1, 1, *size)).shape == (1, 2, *size)


@pytest.mark.parametrize("name", ["valid", "pad"])
def test_add_is_concat_with_tied_weights(name: str) -> None:
    """conv([a, b]) = conv_a(a) + conv_b(b); with conv_a = conv_b it is conv(a + b)."""
    architecture = replace(VARIANTS[name], depth=4)
    added, concatenated = UNet(replace(architecture, fusion="add")).double(), UNet(architecture).double()
    randomise_biases(added)
    tied = {}
    for key, target in concatenated.state_dict().items():
        value = added.state_dict()[key]
        tied[key] = value if value.shape == target.shape else torch.cat([value, value], dim=1)
    concatenated.load_state_dict(tied)
    x = torch.randn(1, 1, 108 if name == "valid" else 45, 108, dtype=torch.float64)
    torch.testing.assert_close(added(x), concatenated(x))


def test_a_convolution_of_a_concatenation_is_a_sum_of_convolutions() -> None:
    a, b, weight = torch.randn(1, 3, 9, 9), torch.randn(1, 5, 9, 9), torch.randn(4, 8, 3, 3)
    both = F.conv2d(torch.cat([a, b], dim=1), weight)
    torch.testing.assert_close(both, F.conv2d(a, weight[:, :3]) + F.conv2d(b, weight[:, 3:]), rtol=1e-4, atol=1e-4)


def test_concat_puts_the_upsampled_map_first_and_none_drops_the_skip() -> None:
    from unet_exp.network.fusion import MODULES

    up, skip = torch.zeros(1, 2, 3, 3), torch.ones(1, 2, 3, 3)
    assert MODULES["concat"](2, 2, "none")(up, skip)[0, :, 0, 0].tolist() == [0, 0, 1, 1]
    assert MODULES["add"](2, 2, "none")(up, skip).mean() == 1
    assert MODULES["none"](2, 2, "none")(up, skip) is up


def test_the_1x1_convolution_commutes_with_bilinear_upsampling() -> None:
    conv, x = nn.Conv2d(8, 4, 1).double(), torch.randn(1, 8, 5, 7, dtype=torch.float64)

    def double(x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)

    torch.testing.assert_close(double(conv(x)), conv(double(x)))


# --- what a U-Net is and is not equivariant to ---


@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_valid_is_equivariant_to_shifts_by_the_total_stride_and_to_no_others(depth: int, norm: Any) -> None:
    architecture = replace(SMALL, depth=depth, width=2, norm=norm)
    network, step = UNet(architecture).double().eval(), geometry.total_stride(architecture)
    size = geometry.input_for_output(architecture, 2 * step + 4)
    x = torch.randn(1, 1, size + step, size + step, dtype=torch.float64)

    def shifted(by: int) -> Tensor:
        out: Tensor = network(x[..., by : by + size, by : by + size])
        return out

    torch.testing.assert_close(shifted(0)[..., step:, step:], shifted(step)[..., :-step, :-step], rtol=0, atol=1e-12)
    if depth > 1:
        half = step // 2
        assert not torch.allclose(shifted(0)[..., half:, half:], shifted(half)[..., :-half, :-half], atol=1e-6)


# --- learning ---


@pytest.mark.parametrize("upsample", ["transposed", "bilinear"])
@pytest.mark.parametrize("norm", ["none", "batch", "instance", "group"])
@pytest.mark.parametrize("fusion", ["concat", "add", "none"])
@pytest.mark.parametrize("base", [SMALL, PAD], ids=["valid", "pad"])
def test_a_gradient_reaches_every_parameter(base: Architecture, fusion: Any, norm: Any, upsample: Any) -> None:
    architecture = replace(base, depth=3, width=8, fusion=fusion, norm=norm, upsample=upsample)
    network = UNet(architecture)
    randomise_biases(network)  # a group norm of a constant would have no gradient at zero
    size = 60 if base.padding == "valid" else 19
    logits = network(torch.randn(2, 1, size, size))
    torch.autograd.backward(F.cross_entropy(logits, torch.zeros_like(logits[:, 0]).long()))
    dead = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not dead


def test_he_initialisation() -> None:
    network = UNet(replace(PAPER, depth=3, width=32, in_channels=3))
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 2000:
            expected = sqrt(2 / (module.in_channels * module.kernel_size[0] ** 2))
            assert module.weight.std().item() == pytest.approx(expected, rel=0.05), name
            assert abs(module.weight.mean().item()) < 0.1 * expected
    assert all(not p.any() for name, p in network.named_parameters() if name.endswith("bias"))


@pytest.mark.parametrize(("word", "fan_in"), [("incoming", 128), ("release", 4 * 64)])
def test_fan_in_of_an_up_convolution(word: Any, fan_in: int) -> None:
    network = UNet(replace(PAPER, depth=3, width=32), upconv_fan_in=word)
    weight = next(m for m in network.modules() if isinstance(m, nn.ConvTranspose2d)).weight
    assert weight.shape == (128, 64, 2, 2)
    assert weight.std().item() == pytest.approx(sqrt(2 / fan_in), rel=0.05)


def test_an_unknown_fan_in_is_refused() -> None:
    with pytest.raises(ConfigError, match="incoming, release"):
        UNet(replace(SMALL, depth=1), upconv_fan_in="outgoing")  # type: ignore[arg-type]


def test_he_keeps_the_variance_of_the_maps() -> None:
    network = UNet(replace(SAME, width=16)).eval()
    assert 0.1 < network(torch.randn(4, 1, 64, 64)).std().item() < 10


def test_norms_keep_ones_and_zeros_and_replace_the_bias() -> None:
    network = UNet(replace(SMALL, norm="batch", depth=2))
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(bool((m.weight == 1).all()) and not m.bias.any() for m in norms)
    convs = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert {m.kernel_size[0] for m in convs if m.bias is None} == {3}
    assert {m.kernel_size[0] for m in convs if m.bias is not None} == {1, 2}


def test_dropout_acts_in_training_only_and_the_skip_carries_it() -> None:
    architecture = replace(SAME, depth=3, width=8)
    plain, dropping = UNet(architecture), UNet(architecture, dropout=0.5)
    dropping.load_state_dict(plain.state_dict())
    x = torch.randn(1, 1, 16, 16)
    assert torch.equal(plain.eval()(x), dropping.eval()(x))
    assert not torch.equal(dropping.train()(x), dropping.train()(x))
    assert torch.equal(plain.train()(x), plain.train()(x))

    skips: list[Tensor] = []
    for decoder in dropping.decoder:
        decoder.register_forward_hook(lambda _, inputs, __: skips.append(inputs[1]))
    reference: list[Tensor] = []
    for decoder in plain.decoder:
        decoder.register_forward_hook(lambda _, inputs, __: reference.append(inputs[1]))
    dropping(x)
    plain(x)
    lower, upper = skips
    kept = lower != 0
    torch.testing.assert_close(lower[kept], 2 * reference[0][kept])
    assert 0.4 < (kept.sum() / (reference[0] != 0).sum()).item() < 0.6
    assert torch.equal(upper, reference[1]), "the levels above the last two are not dropped"


# --- ways to run it ---


@pytest.mark.parametrize("name", list(VARIANTS))
def test_channels_last_and_bfloat16_give_nearly_the_same(name: str) -> None:
    architecture = replace(VARIANTS[name], depth=3, width=8)
    network = UNet(architecture).eval()
    x = torch.randn(2, 1, 60 if architecture.padding == "valid" else 24, 60)
    if architecture.align == "exact":
        x = x[..., :56]
    expected = network(x)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = x.to(memory_format=torch.channels_last)
    torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        low = network(x)
    assert low.dtype == torch.bfloat16
    assert (low.float() - expected).abs().max() < 0.1 * expected.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("valid", 68),
        pytest.param("same", 32, marks=pytest.mark.slow),
        pytest.param("pad", 27, marks=pytest.mark.slow),
    ],
)
def test_one_exported_program_serves_every_size(name: str, other: int) -> None:
    architecture = replace(VARIANTS[name], depth=2, width=2)
    network = UNet(architecture).eval()
    size = 60 if name == "valid" else 24
    auto = torch.export.Dim.AUTO
    example = torch.randn(2, 1, size, size + 4 if name != "same" else size + 8)
    program = torch.export.export(network, (example,), dynamic_shapes=({0: auto, 2: auto, 3: auto},)).module()
    for x in (example, torch.randn(3, 1, other, other)):
        torch.testing.assert_close(program(x), network(x))


@pytest.mark.parametrize("name", ["valid", pytest.param("pad", marks=pytest.mark.slow)])
def test_it_compiles_into_one_graph(name: str) -> None:
    network = UNet(replace(VARIANTS[name], depth=3, width=2))
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    x = torch.randn(1, 1, 60, 60)
    torch.testing.assert_close(compiled(x), network(x))


def test_an_illegal_size_names_the_nearest_legal_ones() -> None:
    with pytest.raises(ConfigError, match=r"input height=573 .* 572 and 588"):
        UNet(SMALL)(torch.zeros(1, 1, 573, 572))


# --- cropping and probabilities ---


@few
@given(
    st.integers(0, 2),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(0, 5), st.integers(0, 5)),
)
def test_center_crop_takes_the_middle_of_any_rank(rank: int, size: tuple[int, int], more: tuple[int, int]) -> None:
    shape = (*([2] * rank), size[0] + more[0], size[1] + more[1])
    x = torch.arange(int(np.prod(shape))).reshape(shape)
    cropped = center_crop(x, size)
    assert cropped.shape == (*shape[:-2], *size)
    top, left = more[0] // 2, more[1] // 2
    assert torch.equal(cropped, x[..., top : shape[-2] - (more[0] - top), left : shape[-1] - (more[1] - left)])
    assert np.array_equal(center_crop(x.numpy(), size), cropped.numpy())


def test_center_crop_takes_one_number_and_refuses_a_larger_one() -> None:
    assert center_crop(torch.zeros(3, 10, 12), 4).shape == (3, 4, 4)
    with pytest.raises(ValueError, match="12 x 12 pixels out of 10 x 12"):
        center_crop(torch.zeros(3, 10, 12), 12)


@few
@given(
    st.integers(2, 4),
    st.sampled_from(["softmax", "sigmoid"]),
    st.sampled_from([0.0, 1.0, 30.0, 1e4]),
    st.sampled_from([torch.float32, torch.bfloat16, torch.float64]),
)
def test_probabilities_sum_to_one(classes: int, activation: Any, scale: float, dtype: torch.dtype) -> None:
    logits = (scale * torch.randn(2, out_channels(classes, activation), 3, 4)).to(dtype)
    for shift in (0.0, -1e4):
        p = probabilities(logits + shift, activation)
        assert p.shape == (2, classes, 3, 4)
        assert p.dtype == torch.float32
        assert p.isfinite().all()
        assert (p >= 0).all()
        torch.testing.assert_close(p.sum(dim=1), torch.ones(2, 3, 4))


def test_probabilities_mean_what_they_say() -> None:
    one = torch.tensor([[[[-1.0, 2.0]]]])
    torch.testing.assert_close(probabilities(one, "sigmoid"), torch.cat([1 - one.sigmoid(), one.sigmoid()], dim=1))
    three = torch.randn(1, 3, 2, 2)
    p = three.sigmoid()
    torch.testing.assert_close(probabilities(three, "sigmoid"), p / p.sum(dim=1, keepdim=True))
    torch.testing.assert_close(probabilities(three, "softmax"), three.softmax(dim=1))
    with pytest.raises(ConfigError, match="softmax, sigmoid"):
        probabilities(three, "tanh")  # type: ignore[arg-type]
