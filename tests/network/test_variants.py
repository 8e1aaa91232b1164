"""The variants that papers argue about: against an independent computation, their counts, tiles and export.

`python -m pytest -s -m slow tests/network/test_variants.py` prints the table of all of them.
"""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import composed
from hypothesis import given, settings
from hypothesis import strategies as st
from one_piece import whole_image_logits
from plain_unet import plain_unet, randomise
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from unet_exp import geometry
from unet_exp.config import ClassSpec
from unet_exp.config.running import PlainInferenceConfig
from unet_exp.geometry import Architecture
from unet_exp.inference.tiling.overlap_tile import mirror_source, tiled_logits
from unet_exp.network import UNet, fold_batch_norm
from unet_exp.samples.normalization import Normalization

VALID = Architecture("valid", "crop", 3, 4, 1, 2, "concat", "batch", "transposed")
BASES = {
    "valid": VALID,
    "same": replace(VALID, padding="same", align="exact"),
    "pad": replace(VALID, padding="same", align="pad"),
}
VARIANTS: dict[str, dict[str, Any]] = {
    "attention": {"fusion": "attention"},
    "residual": {"block": "residual"},
    "deep supervision": {"deep_supervision": True},
    "all three": {"fusion": "attention", "block": "residual", "deep_supervision": True},
}
WORDS = {
    "attention": ("fusion=attention",),
    "residual": ("model.block=residual",),
    "deep supervision": ("model.deep_supervision=true",),
    "all three": ("fusion=attention", "model.block=residual", "model.deep_supervision=true"),
}
every_base = pytest.mark.parametrize("base", list(BASES))
every_variant = pytest.mark.parametrize("variant", list(VARIANTS))
few = settings(max_examples=12, deadline=None, derandomize=True)


def architecture(base: str, variant: str, **changed: Any) -> Architecture:
    return replace(BASES[base], **{**VARIANTS[variant], **changed})


def outputs(network: UNet, image: Tensor) -> list[Tensor]:
    with torch.no_grad():
        given = network(image)
    return list(given) if isinstance(given, tuple) else [given]


def largest_difference(network: UNet, image: Tensor) -> float:
    """Of a logit of any resolution from the independent computation, as a part of the largest logit above 1."""
    ours = outputs(network, image)
    theirs = plain_unet(network.architecture, network.state_dict(), image, network.training)[: len(ours)]
    assert [one.shape for one in ours] == [one.shape for one in theirs]
    return max(float((a - b).abs().max() / b.abs().max().clamp_min(1)) for a, b in zip(ours, theirs, strict=True))


# --- against the independent computation ---


@pytest.mark.parametrize("upsample", ["transposed", "bilinear"])
@pytest.mark.parametrize("norm", ["none", "batch", "instance", "group"])
@every_base
def test_all_three_compute_what_the_papers_say(base: str, norm: Any, upsample: Any) -> None:
    made = architecture(base, "all three", norm=norm, upsample=upsample)
    sizes = [geometry.larger_legal(made, size) for size in (60, 75)]
    network = randomise(UNet(made)).double()
    for training in (True, False):
        network.train(training)
        image = torch.randn(2, 1, *sizes, dtype=torch.float64)
        assert largest_difference(network, image) < 1e-9
        assert len(outputs(network, image)) == 1 + training


@pytest.mark.parametrize("fusion", ["concat", "add", "none"])
@every_base
def test_residual_units_go_with_every_fusion(base: str, fusion: str) -> None:
    network = randomise(UNet(architecture(base, "residual", fusion=fusion, in_channels=4))).double().eval()
    assert isinstance(network.encoder[0].shortcut, nn.Identity), "the image has as many channels as the first level"
    side = geometry.input_for_output(network.architecture, 20)
    assert largest_difference(network, torch.randn(1, 4, side, side, dtype=torch.float64)) < 1e-9


def test_they_go_with_the_release() -> None:
    """Whose last level has more channels than its skip."""
    keys = {"relu_after_upsample": True, "keep_last_upsample_channels": True, "norm": "none"}
    network = randomise(UNet(architecture("valid", "all three", **keys))).double()
    assert largest_difference(network, torch.randn(1, 1, 60, 60, dtype=torch.float64)) < 1e-9


# --- what every variant promises ---


@st.composite
def variants(draw: st.DrawFn) -> Architecture:
    keep = draw(st.booleans())
    return replace(
        BASES[draw(st.sampled_from(list(BASES)))],
        depth=draw(st.integers(1, 5)),
        width=draw(st.integers(1, 4)),
        in_channels=draw(st.integers(1, 3)),
        out_channels=draw(st.integers(1, 3)),
        fusion=draw(st.sampled_from(["concat", "attention", "none"] + ["add"] * (not keep))),
        norm=draw(st.sampled_from(["none", "batch", "instance", "group"])),
        upsample=draw(st.sampled_from(["transposed", "bilinear"])),
        keep_last_upsample_channels=keep,
        block=draw(st.sampled_from(["plain", "residual"])),
        deep_supervision=draw(st.booleans()),
    )


@few
@given(variants(), st.integers(1, 60), st.integers(1, 60))
def test_counts_and_sizes_are_those_of_the_network(made: Architecture, high: int, wide: int) -> None:
    height, width = (geometry.input_for_output(made, size) for size in (high, wide))
    with torch.device("meta"):
        network, image = UNet(made), torch.zeros(1, made.in_channels, height, width)
    with FlopCounterMode(display=False) as flops:
        given = network(image)
    first, *sides = given if isinstance(given, tuple) else (given,)
    assert first.shape == (1, made.out_channels, *(geometry.output_size(made, size) for size in (height, width)))
    assert flops.get_total_flops() == 2 * geometry.macs(made, height, width)
    assert geometry.parameters(made) == sum(parameter.numel() for parameter in network.parameters())
    rows = [row.size_out for row in geometry.layers(made, height) if row.kind == "side"]
    assert [side.shape[-2] for side in sides] == rows[::-1]
    assert len(sides) == (max(0, made.depth - 2) if made.deep_supervision else 0)
    with torch.device("meta"), FlopCounterMode(display=False) as flops:
        alone = network.eval()(image)
    assert alone.shape == first.shape, "the full resolution alone"
    assert flops.get_total_flops() < 2 * geometry.macs(made, height, width) or not sides


@few
@given(variants(), st.sampled_from(["parameters", "flops"]))
def test_no_width_is_nearer_to_the_plain_network(made: Architecture, match: Any) -> None:
    size = next(geometry.legal_sizes(made))

    def cost(candidate: Architecture) -> int:
        return geometry.parameters(candidate) if match == "parameters" else geometry.macs(candidate, size, size)

    target = cost(replace(made, fusion="concat", block="plain", deep_supervision=False))
    gaps = {width: abs(cost(replace(made, width=width)) - target) for width in range(1, 3 * made.width)}
    assert gaps[geometry.matched_width(made, match, size)] == min(gaps.values())


@few
@given(variants())
def test_sizes_and_fields_do_not_depend_on_the_variant(made: Architecture) -> None:
    plain = replace(made, fusion="concat", block="plain", deep_supervision=False)
    assert made.sizes == plain.sizes
    side = next(geometry.legal_sizes(made))
    assert UNet(made).train()(torch.randn(1, made.in_channels, side, side))[0].isfinite().all()


@pytest.mark.parametrize("fusion", ["concat", "attention"])
@pytest.mark.parametrize("base", ["valid", "same"])
def test_the_receptive_field_is_seen_and_no_more(base: str, fusion: str) -> None:
    """With positive weights an impulse gives more than nothing exactly where it is seen."""
    made = architecture(base, "residual", fusion=fusion, width=1, out_channels=1, norm="none")
    radius, step, border = (
        f(made) for f in (geometry.receptive_field_radius, geometry.total_stride, geometry.lost_border)
    )
    size = geometry.input_for_output(made, 2 * radius + 4 + step)
    network = UNet(made).double().requires_grad_(False)
    for name, parameter in network.named_parameters():
        parameter.fill_(0.0 if name.endswith("bias") else 1.0 / parameter[0].numel())
    reach = 0
    for place in range(border + radius + 2, border + radius + 2 + step):
        image = torch.zeros(1, 1, size, size, dtype=torch.float64)
        image[..., place, place] = 1.0
        seen_by = (network(image)[0, 0] > 0).any(dim=0).nonzero() + border
        reach = max(reach, place - int(seen_by.min()), int(seen_by.max()) - place)
    assert reach == radius


def tiled_difference(network: UNet, image: Tensor, tile: int) -> float:
    config = PlainInferenceConfig(name="none", tile=tile, batch_size=2, context="auto", blend=0)
    with torch.no_grad():
        whole = whole_image_logits(network, image)
        tiles = tiled_logits(network, mirror_source(image), *image.shape[-2:], config)
    return float((tiles - whole).abs().max() / whole.abs().max().clamp_min(1))


@every_variant
@every_base
def test_tiles_equal_one_piece(base: str, variant: str) -> None:
    network = randomise(UNet(architecture(base, variant))).eval()
    assert tiled_difference(network, torch.randn(1, 1, 75, 90), 24) <= 1e-5


@every_variant
@every_base
def test_folded_batch_norm_gives_the_same(base: str, variant: str) -> None:
    network = randomise(UNet(architecture(base, variant))).eval()
    folded = fold_batch_norm(network)
    norms = [sum(isinstance(part, nn.BatchNorm2d) for part in one.modules()) for one in (network, folded)]
    units = sum(type(part).__name__ == "ResidualUnit" for part in network.modules())
    assert norms[0] > norms[1] == max(0, units - 1), "before a unit's first convolution a norm stays"
    image = torch.randn(2, 1, 60, 60)
    expected, found = (outputs(one, image)[0] for one in (network, folded))
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5 * max(1.0, float(expected.abs().max())))


@pytest.mark.parametrize("norm", ["none", "batch", "instance", "group"])
@every_base
def test_a_gradient_reaches_every_parameter(base: str, norm: Any) -> None:
    network = randomise(UNet(architecture(base, "all three", norm=norm, width=8, depth=4)))
    side = geometry.input_for_output(network.architecture, 20)
    given = network(torch.randn(2, 1, side, side))
    torch.stack([logits.square().mean() for logits in given]).sum().backward()
    assert not [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]


def test_the_variance_of_a_residual_networks_weights() -> None:
    """By what comes before: a ReLU, a ReLU and a sum of two, a sum of two alone, nothing."""
    network = UNet(replace(BASES["same"], width=32, block="residual", deep_supervision=True))
    unit, decoder = network.encoder[2], network.decoder[0]
    convs = [part for part in unit.convs if isinstance(part, nn.Conv2d)]  # type: ignore[union-attr]
    expected = {convs[0]: 2 / (9 * 64), convs[1]: 1 / (9 * 128), unit.shortcut: 0.5 / 64, decoder.up.conv: 1 / 128}
    for conv, variance in expected.items():
        assert conv.weight.var().item() == pytest.approx(variance, rel=0.06)  # type: ignore[union-attr]
    assert network.side_heads[0].weight.var().item() == pytest.approx(1 / 64, rel=0.3)  # type: ignore[operator]


@pytest.mark.parametrize(("fusion", "most"), [("concat", 4), ("attention", 4), ("none", 8), ("add", 15)])
def test_residual_maps_keep_about_unit_variance(fusion: str, most: float) -> None:
    """Addition doubles it, as it does with plain blocks; so does a shortcut that no weight makes smaller."""
    made = replace(BASES["same"], depth=5, width=16, norm="none", block="residual", fusion=fusion)
    network = UNet(made).eval()
    deviations: list[float] = []
    for block in (*network.encoder, *(decoder.convs for decoder in network.decoder)):
        block.register_forward_hook(lambda _, __, given: deviations.append(given.std().item()))
    network(torch.randn(4, 1, 64, 64))
    assert len(deviations) == 9
    assert 0.5 < min(deviations) <= max(deviations) < most


@pytest.mark.slow
@pytest.mark.parametrize("word", ["", "attention"])
def test_they_compile_into_one_graph(word: str) -> None:
    network = UNet(architecture("valid", "all three" if word else "residual", norm="none"))
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    image = torch.randn(1, 1, 60, 60)
    for found, expected in zip(compiled(image), network(image), strict=True):
        torch.testing.assert_close(found, expected)


# --- the table ---


@pytest.mark.slow
@every_base
@every_variant
def test_the_table(variant: str, base: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """The whole one is printed with -s; without it, the depth 3 stands for all, and the fullest network for ONNX."""
    pytest.importorskip("onnxscript", reason="needs pip install -e '.[onnx]'")
    whole = request.config.getoption("capture") == "no"
    print("\n| variant | padding | depth | parameters | counted | MACs | counted | reference | tiles | ONNX |")
    for depth in (3, 4, 5) if whole else (3,):
        made = architecture(base, variant, depth=depth)
        network = randomise(UNet(made))
        size = geometry.input_for_output(made, 40)
        image = torch.randn(1, 1, size, size)
        with FlopCounterMode(display=False) as flops:
            network(image)
        exact = deepcopy(network).double()
        reference = max(largest_difference(exact.train(mode), image.double()) for mode in (True, False))
        network.eval()
        tiles = tiled_difference(network, torch.randn(1, 1, 150, 131), 64)
        words = (f"model={base}", f"model.depth={depth}", *WORDS[variant])
        onnx = (
            _export(network, words, tmp_path / "model.onnx")
            if whole or (variant, base) == ("all three", "pad")
            else 0.0
        )
        counts = geometry.parameters(made), sum(parameter.numel() for parameter in network.parameters())
        macs = geometry.macs(made, size, size), flops.get_total_flops() // 2
        print(
            f"| {variant} | {base} | {depth} |", *(f"{count:,} |" for count in (*counts, *macs)),
            f"{reference:.1e} | {tiles:.1e} | {onnx:.1e} |",
        )  # fmt: skip
        assert counts[0] == counts[1]
        assert macs[0] == macs[1]
        assert reference <= 1e-9
        assert max(tiles, onnx) <= 1e-5


def _export(network: UNet, words: tuple[str, ...], path: Path) -> float:
    """The largest difference of ONNX Runtime's logits on three shapes, as a part of the largest one above 1."""
    import onnxruntime

    from unet_exp.checkpoints.checkpoint import Checkpoint
    from unet_exp.checkpoints.onnx_export import export_to_onnx
    from unet_exp.checkpoints.record import CheckpointRecord

    record = CheckpointRecord(
        config=composed(*words, "model.norm=batch", "model.width=4"),
        classes=[ClassSpec(name=name, value=index, color=[index] * 3) for index, name in enumerate("ab")],
        normalization=Normalization(mode="image"),
        channels=1,
        class_weights=None,
        trained_on=[],
    )
    export_to_onnx(Checkpoint(Path("made.ckpt"), record, network.state_dict(), step=1), path, 18)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    small, middle, large = (geometry.input_for_output(network.architecture, size) for size in (20, 41, 77))
    differences = []
    for shape in ((1, 1, small, large), (2, 1, middle, middle), (3, 1, large, small)):
        image = torch.randn(shape)
        (expected,), (found,) = outputs(network, image), session.run(None, {"image": image.numpy()})
        differences.append(float((expected - torch.from_numpy(found)).abs().max() / expected.abs().max().clamp_min(1)))
    return max(differences)
