"""Batch norm folded into the convolutions gives the same probabilities."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unet_exp.geometry import Architecture, input_for_output
from unet_exp.network import UNet, fold_batch_norm, probabilities

NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
MODELS: dict[str, Any] = {"valid": ("valid", "crop"), "same": ("same", "exact"), "pad": ("same", "pad")}


def images(network: UNet) -> Tensor:
    side = input_for_output(network.architecture, 40)
    return torch.randn(2, 1, side, side, generator=torch.Generator().manual_seed(side))


def build(model: str, norm: str = "batch", upsample: str = "transposed") -> UNet:
    """With statistics and affine parameters as a training leaves them."""
    torch.manual_seed(1)
    architecture = Architecture(*MODELS[model], 3, 8, 1, 2, "concat", norm, upsample)  # type: ignore[arg-type]
    network = UNet(architecture, dropout=0.5)
    if norm == "batch":
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, -1.5, 1.5)
                nn.init.normal_(module.bias, std=0.3)
        with torch.no_grad():
            for _ in range(20):
                network(images(network))
    return network.eval()


@pytest.mark.parametrize("upsample", ["transposed", "bilinear"])
@pytest.mark.parametrize("model", list(MODELS))
def test_it_gives_the_same_probabilities(model: str, upsample: str) -> None:
    network = build(model, upsample=upsample)
    folded = fold_batch_norm(network)
    with torch.no_grad():
        expected, found = (probabilities(one(images(network)), "softmax") for one in (network, folded))
        logits = network.double()(images(network).double())
    assert (found - expected).abs().max() < 5e-6
    exact = logits.softmax(dim=1)
    assert (found - exact).abs().mean() < 1.5 * (expected - exact).abs().mean()


def test_it_is_a_copy_without_norms_in_eval_mode() -> None:
    network = build("same").train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    folded = fold_batch_norm(network)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in folded.modules())
    assert network.training
    assert not any(part.training for part in folded.modules())
    assert before.keys() == network.state_dict().keys()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(value.data_ptr() == other.data_ptr() for value in folded.parameters() for other in before.values())


@pytest.mark.parametrize("norm", ["none", "instance", "group"])
def test_other_norms_stay(norm: str) -> None:
    network = build("same", norm)
    assert fold_batch_norm(network) is network
    copied = fold_batch_norm(network.train())
    assert copied is not network
    assert not copied.training


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NEEDS_CUDA)])
def test_bfloat16_rounds_it_no_worse(device: str) -> None:
    network = build("same").to(device)
    folded, pixels = fold_batch_norm(network), images(network).to(device)
    with torch.no_grad():
        exact = probabilities(network(pixels), "softmax")
        with torch.autocast(device, torch.bfloat16):
            plain, found = (probabilities(one(pixels), "softmax") for one in (network, folded))
    assert (found - exact).abs().mean() < 1.5 * (plain - exact).abs().mean()
    assert (found - exact).abs().max() < 0.1
