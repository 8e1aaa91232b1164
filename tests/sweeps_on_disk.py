"""Made-up runs in the layout of real ones, on disk and in memory, for the tests of comparisons and their pages."""

import json
import zlib
from collections.abc import Mapping, Sequence
from copy import deepcopy
from datetime import datetime, timedelta
from functools import cache
from itertools import count, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from PIL import Image

from unet_exp.compare.collect import Run, collect
from unet_exp.compare.comparison import Comparison, compare_runs
from unet_exp.compare.report import write_report
from unet_exp.config import ClassSpec
from unet_exp.figures.overlay import draw_panels
from unet_exp.keys import flat
from unet_exp.runs.summary import Summary

CONCAT, ADD, NONE = FUSIONS = [{"fusion.name": word} for word in ("concat", "add", "none")]
CLASSES = [
    ClassSpec(name="membrane", value=0, color=[10, 20, 30]),
    ClassSpec(name="cell", value=255, color=[200, 210, 220]),
]

_starts = count()


@cache
def _composed() -> dict[str, Any]:
    from unet_exp.compose import compose_train
    from unet_exp.config import parse

    return parse(compose_train(["experiment=small", "logger=csv", "trainer.max_steps=200"])).model_dump()


@cache
def _flat_composed() -> dict[str, Any]:
    return flat(_composed())


def base_config() -> dict[str, Any]:
    """The nested config of `experiment=small`, a copy."""
    return deepcopy(_composed())


def write_run(
    folder: Path,
    config: Mapping[str, Any] | None = None,
    scores: pd.DataFrame | Mapping[str, float] | None = None,
    history: pd.DataFrame | None = None,
    **summary: Any,
) -> Path:
    """Writes a run folder.

    Args:
        folder: is made.
        config: dotted keys over `base_config`, such as `{"fusion.name": "add", "seed": 1, "data.fold": 0,
            "data.folds": 3}`.
        scores: `per_image.csv` indexed by image, or `iou/mean` of each image; None: three images of 0.8.
        history: `metrics.csv`; None: ten epochs of a learning curve that ends near the scores.
        **summary: over what a finished run has; a value of None is written as null.
    """
    folder.mkdir(parents=True)
    values = base_config()
    for key, value in (config or {}).items():
        *parents, last = key.split(".")
        node = values
        for parent in parents:
            node = node[parent]
        node[last] = value
    images = _images(scores)
    (folder / "config.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    (folder / "summary.json").write_text(json.dumps(_summary(values, images, folder.name) | summary, indent=2))
    images.to_csv(folder / "per_image.csv")
    learned = _history(values["seed"], float(images["iou/mean"].mean())) if history is None else history
    learned.to_csv(folder / "metrics.csv", index=False)
    return folder


def write_sweep(
    folder: Path,
    variants: Sequence[Mapping[str, Any]],
    seeds: int = 3,
    folds: int = 0,
    gains: Sequence[float] | None = None,
    images: int = 4,
    **summary: Any,
) -> Path:
    """Writes a sweep of all variants over seeds and folds; scores vary by fold, by run and by image.

    Args:
        folder: the sweep's folder; is made.
        variants: dotted keys, such as `[{"fusion.name": "concat"}, {"fusion.name": "add"}]`.
        seeds: seeds 0, 1 ...
        folds: 0, or folds 0, 1 ...
        gains: what each variant adds to `iou/mean`; None: nothing.
        images: test images of a fold.
        **summary: for every run.
    """
    rng = np.random.default_rng(0)
    runs = []
    for (index, variant), seed, fold in product(enumerate(variants), range(seeds), range(folds) if folds else [None]):
        words = [f"{key.removesuffix('.name')}={value}" for key, value in variant.items()]
        words += [f"seed={seed}"] + ([] if fold is None else [f"data.folds={folds}", f"data.fold={fold}"])
        name = ",".join(word for word in words if not word.startswith("data.folds"))
        level = 0.75 + 0.02 * (fold or 0) + (gains[index] if gains else 0) + rng.normal(0, 0.01)
        scores = {f"synthetic_{20 * (fold or 0) + at:03d}": level + 0.03 * (at % 3 - 1) for at in range(images)}
        config = {**variant, "seed": seed, "data.fold": fold or 0, "data.folds": folds}
        write_run(folder / name, config, scores, overrides=["experiment=small", *words], **summary)
        runs.append({"name": name, "overrides": ["experiment=small", *words]})
    plan = {"words": [], "config_dir": None, "created": "2026-01-01T00:00:00", "search": None, "runs": runs}
    (folder / "sweep.json").write_text(json.dumps(plan, indent=2))
    return folder


def run_in_memory(config: Mapping[str, Any], scores: pd.DataFrame | Mapping[str, float], **summary: Any) -> Run:
    """What `collect` would read, without a disk; `config` and `scores` as in `write_run`."""
    images = _images(scores)
    values = {**_flat_composed(), **config}
    nested = {"seed": values["seed"], "data": {"fold": values["data.fold"], "folds": values["data.folds"]}}
    made = Summary.model_validate(_summary(nested, images, "run") | summary)
    folder = Path(f"run-{next(_starts):06d}")
    return Run(folder, values, made, images, pd.DataFrame(), (made.started or "", 0, str(folder)))


def runs_of(variant: Mapping[str, Any], scores: Mapping[Any, float], **summary: Any) -> list[Run]:
    """A run in memory for each score, keyed by seed or by (seed, fold of 4)."""
    made = []
    for key, score in scores.items():
        seed, fold = key if isinstance(key, tuple) else (key, None)
        of_fold = {"data.fold": fold or 0, "data.folds": 0 if fold is None else 4}
        made.append(
            run_in_memory({**of_fold, **variant, "seed": seed}, {"a": score - 0.1, "b": score + 0.1}, **summary)
        )
    return made


def draw_pictures(sweep: Path, size: int = 40) -> None:
    """The pictures of all test images of all runs of a sweep."""
    for summary in sorted(sweep.glob("*/summary.json")):
        folder = summary.parent / "predictions"
        folder.mkdir()
        rng = np.random.default_rng(zlib.crc32(summary.parent.name.encode()))
        for image in pd.read_csv(summary.parent / "per_image.csv")["image"]:
            grey = rng.integers(0, 256, (size, size, 1), np.uint8)
            truth, wrong = grey[..., 0] // 128, rng.random((size, size)) < 0.2
            picture = draw_panels(grey, truth, np.where(wrong, 1 - truth, truth), CLASSES, "IoU 0.8")
            Image.fromarray(picture).save(folder / f"test_{image}.png")


def compared(folder: Path, **choices: Any) -> Comparison:
    """The runs in a folder, compared."""
    return compare_runs(*collect([folder]), **choices)


def page(folder: Path, title: str = "a sweep", **choices: Any) -> str:
    """The report on the runs in a folder."""
    return write_report(compared(folder, **choices), folder / "page", title).read_text()


def reasons(comparison: Comparison) -> list[str]:
    """Why runs were excluded."""
    return [item.reason for item in comparison.excluded]


def _images(scores: pd.DataFrame | Mapping[str, float] | None) -> pd.DataFrame:
    if isinstance(scores, pd.DataFrame):
        return scores.rename_axis("image")
    named = pd.Series(dict(scores) if scores is not None else dict.fromkeys(["t_0", "t_1", "t_2"], 0.8), dtype=float)
    columns = {"loss": 1 - named, "accuracy": (1 + named) / 2, "iou/cell": named, "iou/mean": named}
    return pd.DataFrame(columns).rename_axis("image")


def _summary(config: Mapping[str, Any], images: pd.DataFrame, name: str) -> dict[str, Any]:
    data, tested = config["data"], [str(image) for image in images.index]
    start = datetime(2026, 1, 1) + timedelta(minutes=next(_starts))
    return {
        "status": "finished",
        "metrics": {f"test/{key}": value for key, value in images.mean().items()},
        "name": name,
        "started": start.isoformat(),
        "seed": config["seed"],
        "fold": data["fold"] if data["folds"] else None,
        "overrides": ["experiment=small"],
        "split": {"train": ["train_0"], "val": ["val_0"], "test": tested, "unlabelled": []},
        "data_fingerprint": f"fingerprint of fold {data['fold']} of {data['folds']}",
        "metrics_version": 1,
        "width": {"requested": 16, "resolved": 16},
        "parameters": 485_682,
        "macs": 809_685_792,
        "peak_memory": 800_000_000,
        "seconds": 130.0,
        "seconds_training": 120.0,
        "steps": 200,
        "epochs": 10,
        "device": "cpu",
        "precision": "32",
        "git": {"commit": "0" * 40, "changed": False},
        "versions": {"python": "3.11.7", "unet-exp": "0.1.0", "torch": "2.7.0"},
        "best": {"monitor": "val/iou/mean", "value": 0.8, "step": 180},
    }


def _history(seed: int, final: float) -> pd.DataFrame:
    steps = np.arange(20, 201, 20)
    noise = np.random.default_rng(seed).normal(0, 0.01, steps.size)
    curve = final * (1 - np.exp(-steps / 50)) + noise
    return pd.DataFrame(
        {
            "epoch": np.arange(steps.size),
            "step": steps,
            "seconds": steps * 0.6,
            "lr": 0.001,
            "train/loss": 1.1 - curve,
            "val/loss": 1.15 - curve,
            "val/iou/mean": np.where(np.arange(steps.size) % 2, curve, np.nan),
        }
    )
