"""The groups of `scripts/benchmark.py`: pairs of ways to one end."""

from collections.abc import Callable, Sequence

from benchmarks import data, layouts, overhead, parts, predict, startup, step, sweeps, tiles, train
from benchmarks.pairs import Pair
from benchmarks.settings import Benchmark

GROUPS: dict[str, Callable[[Benchmark], Sequence[Pair]]] = {
    "step": step.list_pairs,
    "overhead": overhead.list_pairs,
    "data": data.list_pairs,
    "layouts": layouts.list_pairs,
    "tiles": tiles.list_pairs,
    "predict": predict.list_pairs,
    "startup": startup.list_pairs,
    "train": train.list_pairs,
    "weightmap": parts.list_weight_maps,
    "augmentation": parts.list_augmentations,
    "metrics": parts.list_metrics,
    "sweep": sweeps.list_pairs,
}
