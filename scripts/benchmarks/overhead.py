"""What the framework itself costs: steps of almost no work."""

from functools import partial

from benchmarks.pairs import Goal, Pair
from benchmarks.settings import Benchmark


def list_pairs(task: Benchmark) -> list[Pair]:
    """Training steps beside those of a plain Lightning Trainer, and that beside a bare loop."""
    import torch

    from benchmarks.stepping import Recipe

    tiny = ["model=same", "model.depth=2", "model.width=2", "data.tile=16", "data.batch_size=1", "optimizer=adamw"]
    tiny += ["data.height=64", "data.width=64"]
    recipe = Recipe(task, tiny, task.choose(300, 20), warm=task.choose(50, 5))
    what, plain = "a step of almost no work", "plain Lightning Trainer"
    csv, wandb = partial(recipe.train, "logger=csv"), partial(recipe.train, "logger=wandb", "logger.mode=offline")
    bare = partial(recipe.loop, torch.contiguous_format)
    return [
        Pair("overhead", what, "train, logger=csv", plain, csv, recipe.fit_plainly, Goal("more", 0.5e-3)),
        Pair("overhead", what, "train, W&B offline", plain, wandb, recipe.fit_plainly, Goal("more", 0.8e-3)),
        Pair("overhead", what, plain, "bare loop", recipe.fit_plainly, bare),
    ]
