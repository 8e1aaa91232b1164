"""On a GPU the stitched result stays there, and equals that of the CPU."""

import copy
from typing import Any

import pytest
import torch

from unet_exp.config.running import FlipTTAConfig, InferenceConfig, PlainInferenceConfig, RotationTTAConfig
from unet_exp.geometry import Architecture
from unet_exp.inference.tiling.overlap_tile import choose_home, mirror_source, tiled_logits
from unet_exp.inference.tta import average_probabilities
from unet_exp.network import UNet

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
TILES: dict[str, Any] = {"tile": 32, "batch_size": 2, "context": "auto", "blend": 4}
SETTINGS = [
    PlainInferenceConfig(name="none", **TILES),
    FlipTTAConfig(name="flips8", **TILES),
    RotationTTAConfig(name="rotations7", angles=[0.0, 45.0, 90.0], **TILES),
]


def network() -> UNet:
    torch.manual_seed(0)
    return UNet(Architecture("same", "exact", 3, 4, 1, 2, "concat", "none", "transposed")).eval()


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: settings.name)
@pytest.mark.parametrize("place", ["cpu", "cuda"])
def test_it_equals_the_cpu(settings: InferenceConfig, place: str) -> None:
    made, image = network(), torch.randn(1, 1, 70, 90)
    expected = average_probabilities(made, image, settings, "softmax")
    found = average_probabilities(copy.deepcopy(made).cuda(), image.to(place), settings, "softmax")
    assert expected.device.type == "cpu"
    if not isinstance(settings, RotationTTAConfig):
        assert found.device.type == "cuda"
    torch.testing.assert_close(found.cpu(), expected, atol=1e-4, rtol=0)


def test_what_does_not_fit_lies_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    made, source = network().cuda(), mirror_source(torch.randn(1, 1, 70, 90))
    here = tiled_logits(made, source, 70, 90, SETTINGS[0])
    monkeypatch.setattr("unet_exp.inference.tiling.overlap_tile.free_gpu_memory", lambda _: 2**16)
    there = tiled_logits(made, source, 70, 90, SETTINGS[0])
    assert (here.device.type, there.device.type) == ("cuda", "cpu")
    torch.testing.assert_close(here.cpu(), there, atol=1e-5, rtol=0)
    assert choose_home(torch.device("cuda"), 100).type == "cuda"
