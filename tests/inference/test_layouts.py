"""The memory layouts that a training and a prediction take."""

import pytest
import torch
from conftest import composed

from unet_exp.config import parse
from unet_exp.inference.device import choose_layouts
from unet_exp.runs.conditions import Layouts


@pytest.mark.parametrize(
    ("words", "device", "processor", "precision", "training", "prediction"),
    [
        ((), "cpu", "AVX2", "32", "contiguous", "channels_last"),
        ((), "cpu", "AVX512", "32", "channels_last", "channels_last"),
        (("model.norm=instance",), "cpu", "AVX512", "32", "contiguous", "contiguous"),
        ((), "cpu", "AVX2", "bf16-mixed", "channels_last", "channels_last"),
        (("model.norm=group",), "cpu", "AVX512", "bf16-mixed", "contiguous", "channels_last"),
        ((), "cuda", "AVX2", "bf16-mixed", "channels_last", "channels_last"),
        (("model.norm=group",), "cuda", "AVX512", "32", "contiguous", "contiguous"),
        ((), "mps", "DEFAULT", "32", "contiguous", "contiguous"),
        (("trainer.channels_last=true",), "mps", "DEFAULT", "32", "channels_last", "channels_last"),
        (("trainer.channels_last=false",), "cuda", "AVX512", "32", "contiguous", "contiguous"),
    ],
)
def test_the_layouts_follow_from_device_precision_and_network(
    words: tuple[str, ...],
    device: str,
    processor: str,
    precision: str,
    training: str,
    prediction: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: processor)
    config = parse(composed("model=same", *words))
    architecture = config.architecture(in_channels=1, classes=2)
    chosen = choose_layouts(config.trainer.channels_last, torch.device(device), precision, architecture)
    assert chosen == Layouts.model_validate({"training": training, "prediction": prediction})
