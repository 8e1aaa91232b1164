"""The memory layout that `trainer.channels_last=auto` chooses, beside the other one."""

from collections.abc import Callable
from typing import Any

from benchmarks.pairs import Goal, Pair
from benchmarks.settings import Benchmark

_NETWORKS = {
    "small, batch norm": ("experiment=small", 2, 256, 64),
    "small, no norm, add": ("experiment=small model.norm=none fusion=add", 2, 256, 64),
    "small, group norm, bilinear": ("experiment=small model.norm=group model.upsample=bilinear", 2, 256, 64),
    "small, instance norm": ("experiment=small model.norm=instance", 2, 256, 64),
    "paper network, 572": ("model=valid", 1, 572, 188),
}
"""Words, images a batch, and their side in pixels, usual and quick."""


def list_pairs(task: Benchmark) -> list[Pair]:
    """Forward and backward passes, and the forward pass alone, of several networks."""
    return [pair for name in _NETWORKS for pair in _compare(name, task)]


def _compare(name: str, task: Benchmark) -> list[Pair]:
    import torch

    from unet_exp.compose import compose_train
    from unet_exp.config import parse
    from unet_exp.inference.device import autocast, choose_layouts, memory_format, resolve_device
    from unet_exp.network import build
    from unet_exp.network.folding import fold_batch_norm

    words, batch, usual, quick = _NETWORKS[name]
    side = task.choose(usual, quick)
    config, device = parse(compose_train(words.split())), resolve_device(task.accelerator)
    precision = str(task.precision)
    chosen = choose_layouts("auto", device, precision, config.architecture(1, 2))
    image = torch.randn(batch, 1, side, side)

    def forward(network: Any, layout: torch.memory_format) -> torch.Tensor:
        with autocast(precision, device):
            logits: torch.Tensor = network(image.to(device).contiguous(memory_format=layout))
        return logits

    def train(layout: torch.memory_format) -> Callable[[], object]:
        network: Any = build(config, 1, 2).to(device)
        network.to(memory_format=layout)

        def run() -> None:
            loss: Any = forward(network, layout).float().square().mean()
            loss.backward()
            loss.item()  # which waits for a GPU

        return run

    def predict(layout: torch.memory_format) -> Callable[[], object]:
        network: Any = fold_batch_norm(build(config, 1, 2).eval()).to(device)
        network.to(memory_format=layout)

        def run() -> None:
            with torch.inference_mode():
                forward(network, layout).cpu()

        return run

    pairs = []
    for phase, make, layout in (("training", train, chosen.training), ("prediction", predict, chosen.prediction)):
        other = memory_format("contiguous" if layout == "channels_last" else "channels_last")
        ways = make(memory_format(layout)), make(other)
        pairs.append(Pair("layouts", f"{name}, {phase}", layout, "the other", *ways, Goal("ratio", 0.95), 3))
    return pairs
