"""How fast things are, each beside another way to the same end: ratios of two things measured in turn in one run."""

import io
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from benchmark_large import large_table, measure_large
from benchmark_report import make_result_file, make_table_console, use_threads, write_results
from numpy.typing import NDArray
from pydantic import Field

from unet_exp.cli.entry import run_with_own_keys
from unet_exp.config.values import Count
from unet_exp.errors import ConfigError
from unet_exp.schema import Strict, validate

USAGE = """Measure how fast things are, each beside another way to the same end, or beside another score.

Usage: python scripts/benchmark.py [groups=all] [key=value] ...

  groups    all (default), or some of them: groups=metrics, groups=[weightmap,augmentation,tiles,metrics,sweep]
  repeats   how often each pair is measured in turn (7)
  threads   that PyTorch and OpenCV may use (1)
  output    folder of benchmark.json (outputs/benchmark)

  groups=predict    is not among all, it takes long: an image that is not held whole, predicted once a budget
  side      of that image in pixels (20000)
  budgets   what the predictions may take ([500MB,2GB])
  layouts   of the file that each of them reads, in turn ([tiled,striped])

Each line is a pair, measured A B A B ...: medians, and the ratio B / A with its smallest and largest value.
The images are generated: 512 x 512 pixels, as the slices of ISBI-2012 are.
"""


class Benchmark(Strict):
    """The entry point's own keys."""

    groups: str | list[str]
    repeats: Count
    threads: Count
    output: str
    side: Annotated[int, Field(ge=100)]
    budgets: Annotated[list[str], Field(min_length=1)]
    layouts: Annotated[list[Literal["tiled", "striped"]], Field(min_length=1)]


DEFAULTS: dict[str, Any] = {
    "groups": "all",
    "repeats": 7,
    "threads": 1,
    "output": "outputs/benchmark",
    "side": 20_000,
    "budgets": ["500MB", "2GB"],
    "layouts": ["tiled", "striped"],
}


@dataclass(frozen=True)
class Pair:
    """Two ways to one end.

    Attributes:
        group: it belongs to.
        what: is done.
        ours: the name of the first way.
        other: the name of the second.
        first: runs the first way once; what it returns is nothing, or a `Timed`.
        second: runs the second way once.
    """

    group: str
    what: str
    ours: str
    other: str
    first: Callable[[], object]
    second: Callable[[], object]


@dataclass(frozen=True)
class Timed:
    """Seconds that a way has measured itself, because they are only a part of what it does."""

    seconds: float


@dataclass(frozen=True)
class Result:
    """What a pair came to; times in seconds.

    Attributes:
        group: of the pair.
        what: is done.
        ours: the name of the first way.
        other: the name of the second.
        ours_seconds: of each run.
        other_seconds: of each run.
        ratio: median of the ratios of neighbours in time, second / first.
        lowest: of the ratios.
        highest: of the ratios.
    """

    group: str
    what: str
    ours: str
    other: str
    ours_seconds: tuple[float, ...]
    other_seconds: tuple[float, ...]
    ratio: float
    lowest: float
    highest: float


def measure(pair: Pair, repeats: int) -> Result:
    """Runs both ways once unmeasured, then in turn."""
    pair.first(), pair.second()
    times = [(_seconds(pair.first), _seconds(pair.second)) for _ in range(repeats)]
    ours, others = zip(*times, strict=True)
    ratios = [other / own for own, other in times]
    return Result(
        pair.group, pair.what, pair.ours, pair.other, ours, others,
        statistics.median(ratios), min(ratios), max(ratios),
    )  # fmt: skip


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    done = run()
    return done.seconds if isinstance(done, Timed) else time.perf_counter() - start


def _median_and_spread(seconds: Sequence[float]) -> str:
    """In milliseconds: the median, and the smallest and the largest."""
    median, low, high = (1e3 * number for number in (statistics.median(seconds), min(seconds), max(seconds)))
    return f"{median:.1f} ({low:.1f}-{high:.1f})"


def benchmark(values: dict[str, Any]) -> list[Result]:
    """Measures the groups that are asked for, prints a table and writes `benchmark.json`.

    Args:
        values: the keys of `Benchmark`.

    Raises:
        ConfigError: for an unknown group or key, or a number out of range.
    """
    task = validate(Benchmark, values)
    words = [task.groups] if isinstance(task.groups, str) else task.groups
    wanted = list(GROUPS) if words == ["all"] else words
    for word in wanted:
        if word not in (*GROUPS, LARGE):
            raise ConfigError(f"groups={word}: no such group; choose from {', '.join([*GROUPS, LARGE])}, or all")

    from rich.table import Table

    console, target = make_table_console(), make_result_file(task.output, "benchmark.json")
    with use_threads(task.threads):
        results = [measure(pair, task.repeats) for word in wanted if word != LARGE for pair in GROUPS[word]()]
        large = list(measure_large(task.side, task.budgets, task.layouts, task.threads)) if LARGE in wanted else []
    if large:
        console.print(large_table(large, task.side, task.threads))
    table = Table(caption=f"{task.repeats} repeats, {task.threads} threads; the ratio is B / A", caption_justify="left")
    for column in ("group", "what", "A", "B"):
        table.add_column(column)
    for column in ("A ms", "B ms", "ratio", "lowest", "highest"):
        table.add_column(column, justify="right")
    for result in results:
        times = (_median_and_spread(seconds) for seconds in (result.ours_seconds, result.other_seconds))
        ratios = (result.ratio, result.lowest, result.highest)
        table.add_row(
            result.group, result.what, result.ours, result.other,
            *times, *(f"{ratio:.2f}" for ratio in ratios),
        )  # fmt: skip
    if results:
        console.print(table)
    content = {
        "repeats": task.repeats,
        "threads": task.threads,
        "results": [asdict(result) for result in results],
        "large": [asdict(result) for result in large],
    }
    write_results(target, content)
    return results


def _slice() -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.int32]]:
    """A normalised micrograph (512, 512, 1), its label and its cells."""
    from unet_exp.data.sets.synthetic import generate

    made = generate(512, 512, 0, 0)
    image = made.image[:, :, None].astype(np.float32)
    return (image - image.mean()) / image.std(), made.label, made.instances


def _weightmap() -> list[Pair]:
    from scipy import ndimage

    from unet_exp.weight_map import border_term

    _, _, cells = _slice()

    def full_size() -> NDArray[np.float64]:
        nearest, second = np.full((2, *cells.shape), np.inf)
        for cell in np.unique(cells[cells > 0]):
            distance = ndimage.distance_transform_edt(cells != cell)
            second = np.minimum(second, np.maximum(nearest, distance))
            nearest = np.minimum(nearest, distance)
        return np.where(cells == 0, 10 * np.exp(-((nearest + second) ** 2) / 50), 0)

    return [
        Pair(
            "weightmap", f"distance term, 512 x 512, {cells.max()} cells", "box and margin", "scipy, full size",
            lambda: border_term(cells, 10.0, 5.0, "background"), full_size,
        )
    ]  # fmt: skip


def _augmentation() -> list[Pair]:
    import albumentations

    from unet_exp.augmentation import Window, build
    from unet_exp.config import PaperAugmentationConfig
    from unet_exp.mirror import mirror_window

    image, label, _ = _slice()
    config = PaperAugmentationConfig(
        name="paper", shift=20.0, rotation=180.0, flip=False, grid=3, std=10.0, knots="border", contrast=0.1,
        brightness=0.1,
    )  # fmt: skip
    ours = build(config)
    border = {"border_mode": 4, "p": 1.0}
    one_by_one = albumentations.Compose(
        [
            albumentations.Affine(translate_px=(-20, 20), **border),
            albumentations.Rotate(180, interpolation=2, **border),
            albumentations.ElasticTransform(alpha=300, sigma=50, interpolation=2, **border),
            albumentations.RandomBrightnessContrast(0.1, 0.1, p=1.0),
        ]
    )

    def library() -> object:
        patch, target = (mirror_window(whole, -30, -30, 572, 572) for whole in (image, label))
        return one_by_one(image=patch, mask=target)

    return [
        Pair(
            "augmentation", "a patch of 572 x 572 with its label", "one remap", "albumentations, one remap each",
            lambda: ours(image, Window(-30, -30, 572), 0, label), library,
        )
    ]  # fmt: skip


def _tiles() -> list[Pair]:
    import torch

    from unet_exp.compose import compose_train
    from unet_exp.config import parse
    from unet_exp.inference.tiling.overlap_tile import mirror_source, tiled_logits
    from unet_exp.network import build

    source = mirror_source(torch.randn(1, 1, 1024, 1024))

    def pair(model: str) -> Pair:
        config = parse(compose_train(["experiment=small", f"model={model}"]))
        network = build(config, channels=1, classes=2).eval()

        def stitched(tile: int) -> object:
            settings = config.inference.model_copy(update={"tile": tile})
            return tiled_logits(network, source, 1024, 1024, settings)

        what = f"1024 x 1024, small network, {model}"
        return Pair("tiles", what, "tiles of 256", "one piece", lambda: stitched(256), lambda: stitched(1024))

    return [pair("valid"), pair("same")]


def _metrics() -> list[Pair]:
    from scipy import ndimage
    from skimage import metrics

    from unet_exp.metrics.border_stack import THRESHOLDS, BorderStack
    from unet_exp.metrics.isbi import thin
    from unet_exp.metrics.overlap import components
    from unet_exp.metrics.warping import warping_errors

    _, label, _ = _slice()
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(0, 1, label.shape), 2)
    foreground = np.clip(ndimage.gaussian_filter(label.astype(float), 1) + 1.5 * noise, 0, 1).astype(np.float32)

    def by_skimage() -> list[object]:
        truth = components(label != 0)
        rand_error: Callable[..., object] = metrics.adapted_rand_error
        return [rand_error(truth, thin(foreground > t), ignore_labels=(0,)) for t in THRESHOLDS]

    return [
        Pair(
            "metrics", "512 x 512, all thresholds", "V_Rand, V_Info, Rand, pixel", "scikit-image: Rand alone",
            lambda: BorderStack().add(label, foreground), by_skimage,
        ),
        Pair(
            "metrics", "512 x 512, all thresholds", "V_Rand, V_Info, Rand, pixel", "warping error",
            lambda: BorderStack().add(label, foreground),
            lambda: warping_errors(label, foreground, THRESHOLDS[:-1]),
        ),
    ]  # fmt: skip


def _sweep() -> list[Pair]:
    def between_runs(logger: str, last: str) -> Timed:
        """From a file of a run to the first step of the next one, the mean over a sweep of four."""
        from unet_exp.cli.command import read_command
        from unet_exp.runs.sweep_folder import SweepFolder
        from unet_exp.sweeps.launch import run_sweep
        from unet_exp.sweeps.plan import SweepPlan

        with tempfile.TemporaryDirectory() as place, redirect_stdout(io.StringIO()):
            words = [*_TINY, *logger.split(), f"output={place}", "seed=range(4)", "sweep.report=false"]
            plan = read_command(words, multirun=True)
            assert isinstance(plan, SweepPlan)
            run_sweep(plan)
            (path,) = Path(place, "sweep").iterdir()
            sweep = SweepFolder.open(path)
            folders = [sweep.folder(run) for run in sweep.runs]
            summaries = [folder.read_summary() for folder in folders]
            ends = [(folder.path / last).stat().st_mtime for folder in folders]
            starts = [
                datetime.fromisoformat(run.started or "").timestamp() + (run.seconds_setup or 0) for run in summaries
            ]
        return Timed(statistics.mean(start - end for end, start in zip(ends, starts[1:], strict=False)))

    wandb = "logger=wandb logger.mode=offline"
    return [
        Pair(
            "sweep",
            f"{what}: to the next run's first step",
            "logger=csv",
            wandb,
            partial(between_runs, "logger=csv", last),
            partial(between_runs, wandb, last),
        )
        for what, last in (("run ended", "summary.json"), ("test ended", "per_image.csv"))
    ]


_TINY = [
    *(
        "experiment=small",
        "data.height=64",
        "data.width=64",
        "data.tile=32",
        "data.train_images=2",
        "data.val_images=1",
    ),
    *("data.test_images=1", "trainer.max_steps=2", "scheduler.warmup_steps=0", "trainer.accelerator=cpu"),
]

LARGE = "predict"
"""The group that takes long."""
GROUPS: dict[str, Callable[[], Sequence[Pair]]] = {
    "weightmap": _weightmap,
    "augmentation": _augmentation,
    "tiles": _tiles,
    "metrics": _metrics,
    "sweep": _sweep,
}


def main() -> None:
    run_with_own_keys(USAGE, DEFAULTS, benchmark)


if __name__ == "__main__":
    main()
