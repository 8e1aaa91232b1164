"""The closed forms of `geometry.py` against the paper's numbers and against the real network."""

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from unet_exp import geometry
from unet_exp.errors import ConfigError
from unet_exp.geometry import Architecture
from unet_exp.network import UNet

PAPER = Architecture("valid", "crop", 5, 64, 1, 2, "concat", "none", "transposed")
RELEASE = replace(PAPER, relu_after_upsample=True, keep_last_upsample_channels=True)
SAME = replace(PAPER, padding="same", align="exact")
PAD = replace(PAPER, padding="same", align="pad")
few = settings(max_examples=12, deadline=None, derandomize=True)


@st.composite
def architectures(draw: st.DrawFn, /, min_depth: int = 1, **fixed: Any) -> Architecture:
    padding, align = draw(st.sampled_from([("valid", "crop"), ("same", "exact"), ("same", "pad")]))
    keep = draw(st.booleans())
    words: dict[str, Any] = {
        "padding": padding,
        "align": align,
        "depth": draw(st.integers(min_depth, 5)),
        "width": draw(st.integers(1, 3)),
        "in_channels": draw(st.integers(1, 3)),
        "out_channels": draw(st.integers(1, 3)),
        "fusion": draw(st.sampled_from(["concat", "none"] if keep else ["concat", "add", "none"])),
        "norm": draw(st.sampled_from(["none", "batch", "instance", "group"])),
        "upsample": draw(st.sampled_from(["transposed", "bilinear"])),
        "relu_after_upsample": draw(st.booleans()),
        "keep_last_upsample_channels": keep,
    }
    return Architecture(**{**words, **fixed})


def a_legal_size(architecture: Architecture, index: int) -> int:
    return next(islice(geometry.legal_sizes(architecture), index, None))


# --- the paper's numbers ---


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        (PAPER, 31_030_658),
        (replace(PAPER, out_channels=1), 31_030_593),
        (replace(PAPER, fusion="add"), 27_897_218),
        (replace(PAPER, fusion="none"), 27_897_218),
        (RELEASE, 31_100_354),
        (replace(PAPER, fusion="add", width=67), 30_573_509),
        (SAME, 31_030_658),
        (PAD, 31_030_658),
    ],
)
def test_parameters_of_the_paper(architecture: Architecture, expected: int) -> None:
    assert geometry.parameters(architecture) == expected
    with torch.device("meta"):
        network = UNet(architecture)
    assert sum(parameter.numel() for parameter in network.parameters()) == expected


def test_the_paper_network_has_23_convolutions_and_goes_from_572_to_388() -> None:
    kinds = Counter(layer.kind for layer in geometry.layers(PAPER, 572))
    assert kinds["conv"] + kinds["up"] + kinds["head"] == 23
    assert geometry.output_size(PAPER, 572) == 388
    assert geometry.lost_border(PAPER) == 92
    assert geometry.total_stride(PAPER) == 16


def test_legal_sizes_of_the_paper_are_16k_plus_60() -> None:
    assert list(islice(geometry.legal_sizes(PAPER), 40)) == [16 * k + 60 for k in range(8, 48)]
    assert geometry.output_size(PAPER, 188) == 4


def test_crops_of_the_paper() -> None:
    fuses = [layer for layer in geometry.layers(PAPER, 572) if layer.kind == "fuse"]
    assert [(layer.size_in - layer.size_out) // 2 for layer in fuses] == [4, 16, 40, 88]
    assert (fuses[0].size_in, fuses[0].size_out) == (64, 56)


def test_one_tile_serves_every_variant() -> None:
    assert geometry.input_for_output(PAPER, 388) == 572
    assert geometry.input_for_output(SAME, 388) == 400
    assert geometry.input_for_output(PAD, 388) == 388
    assert geometry.input_for_output(PAD, 3) == 16


def test_matched_width() -> None:
    assert geometry.matched_width(replace(PAPER, fusion="add"), "parameters", 572) == 67
    assert geometry.matched_width(PAPER, "flops", 572) == 64
    with pytest.raises(ConfigError, match=r"model\.match=time"):
        geometry.matched_width(PAPER, "time", 572)  # type: ignore[arg-type]


@few
@given(architectures(norm="none"), st.sampled_from(["parameters", "flops"]), st.integers(0, 3))
def test_no_width_is_nearer_than_the_matched_one(architecture: Architecture, match: Any, index: int) -> None:
    size = a_legal_size(architecture, index)

    def cost(width: int, fusion: Any) -> int:
        candidate = replace(architecture, width=width, fusion=fusion)
        return geometry.parameters(candidate) if match == "parameters" else geometry.macs(candidate, size, size)

    target = cost(architecture.width, "concat")
    found = geometry.matched_width(architecture, match, size)
    gaps = {width: abs(cost(width, architecture.fusion) - target) for width in range(1, 4 * architecture.width)}
    assert gaps[found] == min(gaps.values())


def test_the_table_names_every_layer_and_the_totals() -> None:
    lines = geometry.layer_table(PAPER, 572)
    assert len({len(line) for line in lines}) == 1, "every line is equally long"
    assert len(lines) == 23 + 4 + 4 + 4  # convolutions, pools, fusions; head, total and two rules
    assert "crop + concat" in "\n".join(lines)
    assert "31,030,658" in lines[-1]
    assert "150.43 G" in lines[-1]
    assert "pad + no skip" in "\n".join(geometry.layer_table(replace(PAD, fusion="none"), 33))


def test_geometry_does_not_import_torch() -> None:
    code = "import sys, unet_exp.geometry; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- mistakes ---


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"align": "pad"}, ["model.align=pad", "model.align=crop"]),
        ({"align": "exact"}, ["model.align=exact", "model.align=crop"]),
        ({"padding": "same"}, ["model.align=crop", "model.align=exact", "16", "model.align=pad"]),
        ({"depth": 0}, ["model.depth=0", "1 to 8"]),
        ({"depth": 9}, ["model.depth=9", "1 to 8"]),
        ({"width": 0}, ["model.width=0"]),
        ({"in_channels": 0}, ["in_channels=0"]),
        ({"out_channels": 0}, ["out_channels=0"]),
        ({"fusion": "multiply"}, ["fusion=multiply", "concat, add, none"]),
        ({"norm": "layer"}, ["model.norm=layer", "group"]),
        ({"upsample": "nearest"}, ["model.upsample=nearest", "bilinear"]),
        ({"padding": "reflect"}, ["model.padding=reflect", "valid, same"]),
        (
            {"keep_last_upsample_channels": True, "fusion": "add"},
            ["fusion=add", "128", "64", "fusion=concat"],
        ),
    ],
)
def test_an_impossible_architecture_is_refused(change: dict[str, Any], names: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        replace(PAPER, **change)
    message = str(error.value)
    assert "\n" not in message
    assert all(name in message for name in names), message


def test_an_illegal_size_names_its_source_and_its_neighbours() -> None:
    with pytest.raises(ConfigError, match=r"data\.tile=573 .* 572 and 588"):
        geometry.output_size(PAPER, 573, what="data.tile")
    with pytest.raises(ConfigError, match="the smallest legal size is 188"):
        geometry.output_size(PAPER, 100)
    with pytest.raises(ConfigError, match=r"data\.tile=0 "):
        geometry.input_for_output(PAPER, 0)


def test_out_channels() -> None:
    assert geometry.out_channels(2, "softmax") == 2
    assert geometry.out_channels(2, "sigmoid") == 1
    assert geometry.out_channels(5, "sigmoid") == 5
    with pytest.raises(ConfigError, match="1 classes"):
        geometry.out_channels(1, "softmax")
    with pytest.raises(ConfigError, match="tanh"):
        geometry.out_channels(2, "tanh")  # type: ignore[arg-type]


# --- sizes among themselves ---


@few
@given(architectures(), st.integers(1, 400))
def test_neighbours_and_covering_inputs(architecture: Architecture, size: int) -> None:
    smaller, larger = geometry.smaller_legal(architecture, size), geometry.larger_legal(architecture, size)
    between = [n for n in range(max(1, (smaller or 0) + 1), larger) if geometry.is_legal(architecture, n)]
    assert between == ([size] if geometry.is_legal(architecture, size) else [])
    assert geometry.is_legal(architecture, larger)
    assert smaller is None or geometry.is_legal(architecture, smaller)
    covering = geometry.input_for_output(architecture, size)
    assert geometry.output_size(architecture, covering) >= size
    below = geometry.smaller_legal(architecture, covering)
    assert below is None or geometry.output_size(architecture, below) < size


# --- against the real network ---


def _without_check(network: UNet, x: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    with monkeypatch.context() as patch:
        patch.setattr("unet_exp.network.base.check_size", lambda *_: None)
        result: torch.Tensor = network(x)
        return result


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_a_size_is_legal_exactly_where_an_unchecked_network_works(
    depth: int, padding: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An illegal size breaks torch's own shape rules, or loses pixels to floor pooling."""
    align: Any = "crop" if padding == "valid" else "exact"
    architecture = replace(PAPER, padding=padding, align=align, depth=depth, width=1)
    losses: list[int] = []
    with torch.device("meta"):
        network = UNet(architecture)
    for block in network.encoder[:-1]:
        block.register_forward_hook(lambda _, __, out: losses.append(out.shape[-1] % 2))
    for size in range(1, 230 if depth == 5 else 100):
        losses.clear()
        try:
            out = _without_check(network, torch.zeros(1, 1, size, size, device="meta"), monkeypatch)
            works = not any(losses) and min(out.shape) > 0
        except (RuntimeError, ValueError):
            works = False
        assert geometry.is_legal(architecture, size) == works, size


@pytest.mark.slow
@few
@example(replace(PAPER, width=1, norm="batch"), (0, 2))
@example(replace(PAD, width=2, upsample="bilinear", depth=4, norm="group"), (3, 5))
@example(replace(SAME, width=1, norm="instance", depth=5), (0, 1))
@given(architectures(), st.tuples(st.integers(0, 4), st.integers(0, 4)))
def test_sizes_parameters_and_macs_are_those_of_the_network(
    architecture: Architecture, indices: tuple[int, int]
) -> None:
    height, width = (a_legal_size(architecture, index) for index in indices)
    with torch.device("meta"):
        network = UNet(architecture)
        image = torch.zeros(1, architecture.in_channels, height, width)
    with FlopCounterMode(display=False) as flops:
        out = network(image)
    assert tuple(out.shape) == (
        1,
        architecture.out_channels,
        geometry.output_size(architecture, height),
        geometry.output_size(architecture, width),
    )
    assert flops.get_total_flops() == 2 * geometry.macs(architecture, height, width)
    assert geometry.macs(architecture, height, height) == sum(
        layer.macs for layer in geometry.layers(architecture, height)
    )
    assert geometry.parameters(architecture) == sum(parameter.numel() for parameter in network.parameters())


@few
@given(architectures(min_depth=4), st.integers(1, 15))
def test_an_illegal_size_is_refused_by_the_network(architecture: Architecture, surplus: int) -> None:
    legal = a_legal_size(architecture, 1)
    size = next(geometry.legal_sizes(architecture)) - 1 if architecture.align == "pad" else legal + surplus
    if geometry.is_legal(architecture, size):
        size += 1
    with torch.device("meta"), pytest.raises(ConfigError, match=f"input width={size} "):
        UNet(architecture)(torch.zeros(1, architecture.in_channels, legal, size))


@pytest.mark.parametrize("norm", ["batch", "instance", "group"])
def test_the_smallest_legal_size_can_be_trained_with_a_norm(norm: Any) -> None:
    architecture = replace(SAME, depth=3, width=1, norm=norm)
    size = next(geometry.legal_sizes(architecture))
    assert size == 8  # 4 would leave one pixel at the bottom
    assert UNet(architecture).train()(torch.randn(1, 1, size, size)).isfinite().all()


@pytest.mark.parametrize("upsample", ["transposed", "bilinear"])
@pytest.mark.parametrize(
    "depth", [1, pytest.param(2, marks=pytest.mark.slow), 3, pytest.param(4, marks=pytest.mark.slow), 5]
)
@pytest.mark.parametrize("base", [PAPER, SAME], ids=["valid", "same"])
def test_margin_is_the_farthest_reach_over_all_phases(base: Architecture, depth: int, upsample: Any) -> None:
    """With positive weights and no bias an impulse gives a positive output exactly where it is seen.

    An impulse, not a gradient: a gradient takes one of four ways through a max-pool, an impulse cannot miss.
    """
    architecture = replace(base, depth=depth, width=1, out_channels=1, upsample=upsample)
    radius, total_stride, lost_border = (
        f(architecture) for f in (geometry.receptive_field_radius, geometry.total_stride, geometry.lost_border)
    )
    room = radius + 2
    size = geometry.input_for_output(architecture, 2 * room + total_stride)
    network = UNet(architecture).double().requires_grad_(False)
    for name, parameter in network.named_parameters():
        parameter.fill_(0.0 if name.endswith("bias") else 1.0 / parameter[0].numel())
    reach = 0
    for phase in range(total_stride):
        place = lost_border + room + phase
        image = torch.zeros(1, 1, size, size, dtype=torch.float64)
        image[..., place, place] = 1.0
        seen_by = network(image)[0, 0] > 0
        for axis in (0, 1):
            outputs = seen_by.any(dim=axis).nonzero() + lost_border
            assert lost_border < outputs.min(), "the probe stands clear of the border"
            assert outputs.max() < size - lost_border - 1
            reach = max(reach, place - int(outputs.min()), int(outputs.max()) - place)
    assert reach == radius


@few
@given(architectures(min_depth=2))
def test_valid_and_same_have_one_margin_and_it_covers_the_context(architecture: Architecture) -> None:
    margins = {
        geometry.receptive_field_radius(replace(architecture, padding=padding, align=align))  # type: ignore[arg-type]
        for padding, align in (("valid", "crop"), ("same", "exact"), ("same", "pad"))
    }
    assert len(margins) == 1
    assert margins.pop() >= geometry.lost_border(architecture)
