"""What each fusion declares against what its module does, for all of them and for one that is added.

It is added as any fusion is: what it costs in `geometry.FUSIONS`, its module in `network.fusion.MODULES`, and a
YAML of its name.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import TINY
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from unet_exp import geometry
from unet_exp.compose import compose_train
from unet_exp.config import parse
from unet_exp.errors import ConfigError
from unet_exp.files import conf_dir
from unet_exp.geometry import FUSIONS, Architecture, Fusion, Learned, Norm
from unet_exp.inference.large.budget import forward_bytes
from unet_exp.network import UNet
from unet_exp.network.fusion import MODULES

VALID = Architecture("valid", "crop", 3, 4, 1, 2, "concat", "none", "transposed")
PAD = replace(VALID, padding="same", align="pad", norm="batch", upsample="bilinear")
RELEASE = replace(VALID, relu_after_upsample=True, keep_last_upsample_channels=True)
SHIPPED = tuple(FUSIONS)
WORDS = (*SHIPPED, "scaled")


class Scaled(nn.Module):
    """Adds the skip, each of its channels times a learned factor."""

    def __init__(self, _up: int, skip: int, _norm: Norm) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((skip, 1, 1), 0.5))

    def forward(self, up: Tensor, skip: Tensor) -> Tensor:
        return up + self.scale * skip


@pytest.fixture(autouse=True)
def _one_more(monkeypatch: pytest.MonkeyPatch) -> None:
    scaled = Fusion(
        channels=lambda up, _: up,
        learned=lambda _up, skip, _norm: (Learned("scale", skip, skip, 0, skip),),
        refuses=lambda up, skip: None if up == skip else f"cannot add {up} channels to {skip}",
        scratch=lambda _, skip: skip,
    )
    monkeypatch.setitem(FUSIONS, "scaled", scaled)
    monkeypatch.setitem(MODULES, "scaled", Scaled)


def test_both_tables_and_the_options_have_the_same_words() -> None:
    files = {path.stem for path in (conf_dir() / "fusion").glob("*.yaml")}
    assert set(SHIPPED) == files
    assert set(FUSIONS) == set(MODULES)


@pytest.mark.parametrize("base", [VALID, PAD, RELEASE], ids=["valid", "pad", "release"])
@pytest.mark.parametrize("word", WORDS)
def test_a_fusion_costs_what_it_declares(word: str, base: Architecture) -> None:
    if base is RELEASE and FUSIONS[word].refuses(8, 4):
        with pytest.raises(ConfigError, match=f"fusion={word} "):
            replace(base, fusion=word)
        return
    architecture = replace(base, fusion=word)
    height, width = (geometry.larger_legal(architecture, size) for size in (44, 61))
    network = UNet(architecture)
    with FlopCounterMode(display=False) as flops:
        logits = network(torch.randn(2, 1, height, width))
    assert logits.shape[2] == geometry.output_size(architecture, height)
    assert flops.get_total_flops() == 2 * 2 * geometry.macs(architecture, height, width)
    assert geometry.parameters(architecture) == sum(parameter.numel() for parameter in network.parameters())
    for decoder, level in zip(network.decoder, (2, 1), strict=True):
        rows = [row for row in geometry.layers(architecture, height) if (row.kind, row.level) == ("mix", level)]
        learned = decoder.fusion.parameters()
        assert sum(row.parameters for row in rows) == sum(parameter.numel() for parameter in learned)


@pytest.mark.parametrize("word", WORDS)
def test_a_step_moves_every_weight(word: str) -> None:
    network = UNet(replace(PAD, fusion=word, width=8))
    before = [parameter.detach().clone() for parameter in network.parameters()]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    F.cross_entropy(network(torch.randn(2, 1, 19, 21)), torch.randint(2, (2, 19, 21))).backward()
    optimizer.step()
    pairs = zip(before, network.named_parameters(), strict=True)
    assert not [name for old, (name, new) in pairs if torch.equal(old, new)]


@pytest.mark.parametrize("match", ["parameters", "flops"])
@pytest.mark.parametrize("word", WORDS)
def test_its_cost_can_be_matched(word: str, match: Any) -> None:
    """The nearest of all widths, as the networks themselves count."""
    architecture, size = replace(VALID, fusion=word), 60

    def cost(width: int, fusion: str) -> int:
        candidate = replace(architecture, width=width, fusion=fusion)
        if match == "flops":
            return geometry.macs(candidate, size, size)
        return sum(parameter.numel() for parameter in UNet(candidate).parameters())

    target = cost(4, "concat")
    gaps = {width: abs(cost(width, word) - target) for width in range(1, 12)}
    assert geometry.matched_width(architecture, match, size) == min(gaps, key=gaps.__getitem__)


def test_the_table_of_layers_names_its_steps() -> None:
    table = "\n".join(geometry.layer_table(replace(VALID, fusion="attention"), 44))
    gate = ("of the map", "of the skip", "to one channel")
    names = ("up-conv 2x2", *(f"gate: conv 1x1 {what}" for what in gate), "crop + attention", "conv 3x3")
    places = [table.index(name, table.index("up-conv 2x2")) for name in names]
    assert places == sorted(places)
    assert "scale" in "\n".join(geometry.layer_table(replace(PAD, fusion="scaled"), 33))


def test_channels_that_do_not_fit_are_refused_with_the_mend() -> None:
    with pytest.raises(ConfigError) as error:
        replace(RELEASE, fusion="scaled")
    assert str(error.value) == (
        "fusion=scaled cannot add 8 channels to 4: set fusion=concat or fusion=none or fusion=attention, "
        "or model.keep_last_upsample_channels=false (model=release sets it to true)"
    )


def test_memory_counts_what_a_fusion_needs_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    network = UNet(replace(VALID, fusion="attention"))
    plain = forward_bytes(network, 44, 44)
    monkeypatch.setitem(FUSIONS, "attention", replace(FUSIONS["attention"], scratch=lambda _, skip: 1000 * skip))
    # At level 2, beside them: the image, two skips, the map from below, the up-sampled one, and both joined.
    held = 44**2 + 4 * 40**2 + 8 * 16**2 + 16 * 4**2 + 8 * 8**2 + 16 * 8**2
    assert forward_bytes(network, 44, 44) == 4 * (held + 1000 * 8 * 8**2) > plain


def test_existing_networks_keep_their_keys_and_their_draws() -> None:
    """The first fusions have no weights: they draw nothing, and nothing of theirs is in a checkpoint."""
    torch.manual_seed(0)
    concat = UNet(VALID).state_dict()
    assert not [key for key in concat if "fusion" in key]
    torch.manual_seed(0)
    none = UNet(replace(VALID, fusion="none")).state_dict()
    assert concat.keys() == none.keys()


def test_a_yaml_makes_it_a_word(tmp_path: Path) -> None:
    from unet_exp.training.run import train

    mine = tmp_path / "mine"
    (mine / "fusion").mkdir(parents=True)
    (mine / "fusion" / "scaled.yaml").write_text("name: scaled\n")
    words = [*TINY, "fusion=scaled", "model=valid", "model.match=parameters", f"output={tmp_path}"]
    config = parse(compose_train(words, str(mine)))
    assert config.fusion.name == "scaled"
    assert train(config, words).read_summary().status == "finished"
    with pytest.raises(ConfigError, match=r"fusion\.name='multiply': must be one of concat, add, none, attention"):
        parse({**compose_train([]), "fusion": {"name": "multiply"}})
