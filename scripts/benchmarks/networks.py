"""An untrained network as a checkpoint, and what predictions are measured with."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.settings import Benchmark

if TYPE_CHECKING:
    from torch import nn

    from unet_exp.inference.predictor import Predictor


def make_image(side: int) -> NDArray[np.uint8]:
    """Generated cells (side, side)."""
    from unet_exp.data.sets.synthetic import generate

    part = generate(512, 512, 0, 0).image
    times = -(-side // 512)
    return np.tile(part, (times, times))[:side, :side].copy()


def make_predictor(task: Benchmark, *words: str) -> "Predictor":
    """The network of `experiment=small` as it is before training.

    Args:
        task: says where it runs.
        words: such as `inference.tile=256`.
    """
    from unet_exp import load

    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "network.ckpt")
        save_network(path, *words)
        accelerator = {"gpu": "cuda"}.get(task.accelerator, task.accelerator)
        return load(path, accelerator, str(task.precision))


def run_network(network: "nn.Module", side: int, count: int, batch: int = 1) -> Callable[[], object]:
    """The network alone, on so many inputs (1, side, side) of noise."""
    import torch

    device = next(network.parameters()).device
    x = torch.randn(batch, 1, side, side, device=device)

    def run() -> None:
        with torch.inference_mode():
            for _ in range(count // batch):
                logits = network(x)
            logits.cpu()  # which waits for a GPU

    return run


def save_network(path: Path, *words: str) -> None:
    """Writes a checkpoint of `experiment=small` without training."""
    import torch

    from unet_exp.checkpoints.reading import NETWORK_PREFIX, STEP, WEIGHTS
    from unet_exp.checkpoints.record import KEY, CheckpointRecord
    from unet_exp.compose import compose_train
    from unet_exp.config import ClassSpec, parse
    from unet_exp.network import build
    from unet_exp.samples.normalization import Normalization

    values = compose_train(["experiment=small", *words])
    torch.manual_seed(0)
    weights = build(parse(values), channels=1, classes=2).state_dict()
    record = CheckpointRecord(
        config=values,
        classes=[ClassSpec(name=name, value=255 * index, color=[255 * index] * 3) for index, name in enumerate("ab")],
        normalization=Normalization(mode="image"),
        channels=1,
        class_weights=None,
        trained_on=[],
    )
    named = {f"{NETWORK_PREFIX}{name}": tensor for name, tensor in weights.items()}
    torch.save({KEY: record.model_dump(), WEIGHTS: named, STEP: 0}, path)
