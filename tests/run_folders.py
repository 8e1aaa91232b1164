"""What a finished run's folder must hold."""

import re

import yaml
from conftest import summary, table

from unet_exp.checkpoints.opening import open_checkpoint
from unet_exp.config import Config, parse
from unet_exp.io.images import read_image
from unet_exp.runs.run_folder import RunFolder

TWO = ("membrane", "cell")


FIVE = ("membrane", "cytoplasm", "mitochondrion", "vesicle", "granule")


SUMMARY = {
    *("status", "metrics", "seed", "fold", "overrides", "split", "data_fingerprint", "metrics_version", "parameters"),
    *("macs", "peak_memory", "seconds", "precision", "git", "versions"),
}


BORDERS = ("v_rand", "v_info", "rand_error", "pixel_error")


def score_names(classes: tuple[str, ...]) -> list[str]:
    """The scores of every validation."""
    kinds = ("iou", "dice", "precision", "recall", "specificity")
    return ["loss", "accuracy", *of_classes(kinds, classes), "balanced_accuracy", "kappa"]


def of_classes(kinds: tuple[str, ...], classes: tuple[str, ...]) -> list[str]:
    return [f"{kind}/{name}" for kind in kinds for name in (*classes, "mean")]


def end_names(classes: tuple[str, ...], config: Config) -> list[str]:
    """The scores of the end of a training beside them, which need no thresholds."""
    names = of_classes(("hausdorff95", "surface_distance", "surface_dice"), classes[1:])
    names += [f"distances_undefined/{name}" for name in classes[1:]]
    curves = classes[1:] if len(classes) == 2 else classes
    of_curves = [*of_classes(("roc_auc", "average_precision"), curves), "ece"]
    return names * config.metrics.distances + of_curves * config.metrics.probabilities


def check_folder(
    folder: RunFolder,
    classes: tuple[str, ...] = TWO,
    tests: int = 1,
    unlabelled: int = 0,
    borders: tuple[str, ...] = BORDERS,
    seg: bool = True,
) -> None:
    """A finished run's folder tells its whole story.

    Args:
        folder: of the run.
        classes: of its data.
        tests: images of the test split.
        unlabelled: images without a label.
        borders: scores of borders that its data have.
        seg: whether its data have cells to be scored one by one.
    """
    cells = ["seg"] if seg else []
    config = parse(yaml.safe_load(folder.config.read_text()))
    assert "${" not in folder.config.read_text()

    rows = table(folder.metrics)
    columns = ["epoch", "step", "seconds", "lr", "train/loss", *(f"val/{name}" for name in score_names(classes))]
    monitored = config.trainer.monitor.removeprefix("val/")
    if monitored in (*BORDERS, "seg"):
        quick = [name for name in borders if name != "warping_error"]  # it takes seconds: only at the end
        columns += [f"val/{name}" for name in (*quick, *cells, *(f"{name}_threshold" for name in quick))]
        assert rows[-1][config.trainer.monitor]
    assert list(rows[0]) == columns
    assert [int(row["epoch"]) for row in rows] == list(range(len(rows)))
    assert rows[-1]["val/loss"]  # the last epoch is always validated

    told = summary(folder)
    assert set(told) >= SUMMARY
    assert (told["status"], told["seed"]) == ("finished", config.seed)
    assert told["steps"] == int(rows[-1]["step"])
    assert told["fold"] == (config.data.fold if config.data.folds else None)
    endings = ("", "_threshold", "_at_val", "_threshold_at_val")
    at_thresholds = [
        *borders,
        *(("best_dice", "best_iou") if len(classes) == 2 and config.metrics.probabilities else ()),
    ]
    of_thresholds = [f"{name}{ending}" for name in at_thresholds for ending in endings]
    names = [*score_names(classes), *end_names(classes, config), *of_thresholds, *cells] if tests else []
    assert set(told["metrics"]) == {f"test/{name}" for name in names}
    assert all(value is None or value >= 0 or name == "test/kappa" for name, value in told["metrics"].items())
    assert {"python", "torch", "pytorch-lightning"} <= set(told["versions"])
    assert re.fullmatch("2:[0-9a-f]{64}", told["data_fingerprint"])
    assert min(told["parameters"], told["macs"], told["peak_memory"], told["seconds"]) > 0

    for path in (folder.best, folder.last):
        checkpoint = open_checkpoint(path)
        assert checkpoint.config == config
        assert [spec.name for spec in checkpoint.record.classes] == list(classes)
        assert (
            sum(weight.numel() for name, weight in checkpoint.weights.items() if is_parameter(name))
            == (told["parameters"])
        )
    assert checkpoint.step == told["steps"]  # of the last

    assert folder.per_image.exists() == bool(tests)
    if tests:
        scores = table(folder.per_image)
        at_val = [f"{name}_at_val" for name in at_thresholds]
        assert set(scores[0]) == {
            "image",
            *score_names(classes),
            *end_names(classes, config),
            *cells,
            *at_thresholds,
            *at_val,
        }
        assert folder.per_threshold.exists() == bool(borders)
        assert [row["image"] for row in scores] == told["split"]["test"]
    pictures = sorted(path.name for path in folder.predictions.iterdir())
    assert sum(name.startswith("test_") for name in pictures) == tests
    assert sum(name.startswith("unlabelled_") for name in pictures) == unlabelled
    for picture in (folder.curves, *folder.predictions.iterdir()):
        assert read_image(picture).ndim == 3
    log = folder.log.read_text()
    assert "pytorch_lightning" in log
    assert not [word for word in ("litlogger", "srun", "TPU", "treespec", "resumable") if word in log]
    hidden = {path.name for path in folder.path.rglob("*") if path.name.startswith(".") or path.suffix == ".part"}
    assert hidden == {".lock"}


def is_parameter(name: str) -> bool:
    return name not in ("mean", "std") and not name.endswith(("running_mean", "running_var", "num_batches_tracked"))
