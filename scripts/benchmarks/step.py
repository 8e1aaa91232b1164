"""A training step: forward, loss, backward, optimizer."""

from functools import partial

from benchmarks.pairs import Goal, Pair
from benchmarks.settings import Benchmark

_GOAL = Goal("ratio", 0.95)


def list_pairs(task: Benchmark) -> list[Pair]:
    """This framework's training beside plain loops in both layouts (the better one counts), and MONAI's network."""
    import torch

    from benchmarks.stepping import Recipe

    small = Recipe(task, ["experiment=small", f"data.tile={task.choose(256, 32)}"], task.choose(6, 2))
    paper = ["model=valid", "optimizer=sgd", "optimizer.lr=0.0001", "data.batch_size=1"]
    paper += ["data.tile=4", "model.depth=3", "model.width=4"] if task.quick else ["data.tile=388"]
    tile, width = task.choose(384, 64), task.choose(32, 8)
    like_monai = Recipe(
        task,
        ["model=same", "model.norm=instance", f"model.width={width}", f"data.tile={tile}", "data.batch_size=1",
         "optimizer=adamw"],
        task.choose(3, 2),
    )  # fmt: skip
    pairs = []
    for name, recipe, most in (
        (f"small network, 2 x {small.config.data.tile}", small, 1000),
        (f"paper network, {'tiny' if task.quick else '572'}", Recipe(task, paper, 2), 3),
    ):
        for layout in ("NCHW", "channels_last"):
            memory = torch.channels_last if layout == "channels_last" else torch.contiguous_format
            loop = partial(recipe.loop, memory)
            pairs.append(Pair("step", name, "train", f"plain loop, {layout}", recipe.train, loop, _GOAL, most))
    return share_first([*pairs, _beside_monai(like_monai, width, tile)])


def share_first(pairs: list[Pair]) -> list[Pair]:
    """Neighbours with equal first ways get one object, so that they are measured together."""
    from dataclasses import replace

    shared: list[Pair] = []
    for pair in pairs:
        same = shared and shared[-1].first == pair.first
        shared.append(replace(pair, first=shared[-1].first) if same else pair)
    return shared


def _beside_monai(recipe: object, width: int, tile: int) -> Pair:
    """A BasicUNet whose last level has as many channels as make the work equal."""
    import torch

    from benchmarks.stepping import Recipe, count_macs
    from unet_exp.network import build

    assert isinstance(recipe, Recipe)
    what = f"same padding, instance norm, width {width}, {tile}"

    def make(last: int, device: str) -> torch.nn.Module:
        from monai.networks.nets.basic_unet import BasicUNet

        features = (*(width * 2**level for level in range(5)), last)
        with torch.device(device):
            return BasicUNet(spatial_dims=2, in_channels=1, out_channels=2, features=features)

    def loop() -> object:
        # `BasicUNet` keeps the width of the last up-sampled map: fewer channels after it make up for that.
        with torch.device("meta"):
            ours = count_macs(build(recipe.config, 1, 2), tile)
        theirs = {last: count_macs(make(last, "meta"), tile) for last in range(width // 4, width + 1, 2)}
        last = min(theirs, key=lambda last: abs(theirs[last] - ours))
        assert abs(theirs[last] / ours - 1) < 0.05, (theirs, ours)
        return recipe.loop(torch.contiguous_format, make(last, "cpu"))

    return Pair(
        "step", what, "train", "MONAI BasicUNet of equal MACs (5 %), NCHW", recipe.train, loop, _GOAL, 5, "monai"
    )
