"""Masks for a user's own images, in the encoding of the labels that the network was trained on."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from unet_exp.config import ClassSpec, parse
from unet_exp.config.values import Natural, NonNegative
from unet_exp.errors import ConfigError, DataError, UserError
from unet_exp.schema import Strict, validate

if TYPE_CHECKING:
    from unet_exp.checkpoint import Checkpoint
    from unet_exp.inference.predictor import Predictor

USAGE = """Predict masks for images: PNG, JPEG, TIFF and TIFF stacks of any size.

Usage: python scripts/predict.py checkpoint=<file or run folder> input=<file, folder or glob> [key=value] ...

  checkpoint     the file, or a run's folder (its best.ckpt)
  input          a file, a folder, or a glob in quotes
  output         the folder of the masks (outputs/predict); files of the same name are replaced
  preview        true (default): <name>_preview.png too, in the classes' colours
  probabilities  true: <name>_probabilities.tif too, a float32 page a class
  instances      true: <name>_instances.png or .tif too, a number a cell, and <name>_instances.csv, a row a cell

Cells are the 4-connected parts of a class; these say which and how:
  instances_classes   their names, such as [cell,nucleus] (every class but the first)
  instances_holes     what a cell encloses is filled up to so many pixels (0)
  instances_smallest  cells of fewer pixels are dropped (0)
  instances_split     cuts cells at waists whose radius is smaller than the bumps' by more than so many pixels (0: none)

A mask is written as <name>_mask.png (or .tif for a TIFF), of the input's size, with the values or colours that the
training labels had. inference=none|rotations7|flips8, inference.<key>, trainer.accelerator and trainer.precision can be
typed too.

Examples:
  python scripts/predict.py checkpoint=outputs/train/<run> input=slice.png
  python scripts/predict.py checkpoint=best.ckpt input='stack/*.tif' output=masks probabilities=true
  python scripts/predict.py checkpoint=best.ckpt input=large.tif inference=flips8 inference.tile=512
"""


class Prediction(Strict):
    """The entry point's own keys."""

    checkpoint: str
    input: str
    output: str
    preview: bool
    probabilities: bool
    instances: bool
    instances_classes: list[str] | None
    instances_holes: Natural
    instances_smallest: Natural
    instances_split: NonNegative

    @model_validator(mode="after")
    def _keys_do_something(self) -> "Prediction":
        for key in ("instances_classes", "instances_holes", "instances_smallest", "instances_split"):
            if getattr(self, key) and not self.instances:
                raise ValueError(f"{key} does nothing without instances=true")
        return self


DEFAULTS: dict[str, Any] = {
    "checkpoint": "",
    "input": "",
    "output": "outputs/predict",
    "preview": True,
    "probabilities": False,
    "instances": False,
    "instances_classes": None,
    "instances_holes": 0,
    "instances_smallest": 0,
    "instances_split": 0.0,
}
MORE_KEYS = ("trust", "inference", "trainer.accelerator", "trainer.precision")


def predict(values: dict[str, Any], checkpoint: "Checkpoint") -> list[Path]:
    """Predicts a mask for every image.

    A file that cannot be read or does not fit is left out and named at the end; the others are predicted.

    Args:
        values: the keys of `Prediction` and of a training's config, plain.
        checkpoint: what predicts.

    Returns:
        The masks that were written.

    Raises:
        UserError: for what can be mended; DataError at the end if any file was left out.
    """
    task = validate(Prediction, {key: values.pop(key) for key in DEFAULTS})
    config = parse({**values, "output": task.output})
    if not task.input:
        raise DataError("input=<file, folder or glob> is missing")

    from rich.console import Console
    from rich.progress import track

    from unet_exp.data.images import list_images
    from unet_exp.inference.predictor import Predictor

    console = Console(highlight=False)
    paths = list_images(task.input)
    _check_names(paths)
    predictor = Predictor(checkpoint, config.trainer.accelerator, config.trainer.precision, config.inference)
    _cell_classes(task, predictor.classes)
    output = Path(task.output)
    if any(path.parent.resolve() == output.resolve() for path in paths):
        raise DataError(
            f"output={output} is the folder of the input, and its masks would be input next time; choose another"
        )
    if output.exists() and not output.is_dir():
        raise DataError(f"output={output}: this folder cannot be made (File exists); choose another")
    masks: list[Path] = []
    failures: list[str] = []
    for path in track(paths, "predicting", disable=not console.is_terminal, transient=True, console=console):
        try:
            masks.append(_predict_file(predictor, path, output, task))
        except UserError as error:
            failures.append(str(error))
    if masks:
        console.print(f"{len(masks)} of {len(paths)} files predicted; the masks are in")
        console.print(str(output), style="bold", soft_wrap=True)
    if failures:
        raise DataError(f"{len(failures)} of {len(paths)} files were left out: " + "; ".join(failures))
    return masks


def _check_names(paths: Sequence[Path]) -> None:
    """Two inputs must not write one mask or one preview."""
    seen: dict[str, Path] = {}
    for path in paths:
        if path.stem in seen:
            raise DataError(
                f"{seen[path.stem]} and {path} would both be written to {path.stem}_...; "
                "predict them one after another, each with an output= of its own"
            )
        seen[path.stem] = path


def _cell_classes(task: Prediction, specs: Sequence[ClassSpec]) -> list[int]:
    """Which classes are cells."""
    names = [spec.name for spec in specs]
    wanted = names[1:] if task.instances_classes is None else task.instances_classes
    for name in wanted:
        if name not in names:
            raise ConfigError(f"instances_classes: there is no class {name!r}; choose among {', '.join(names)}")
        if wanted.count(name) > 1:
            raise ConfigError(f"instances_classes: {name!r} stands there twice")
    return [names.index(name) for name in wanted]


def _mask_name(path: Path) -> str:
    return f"{path.stem}_mask{'.tif' if path.suffix.lower() in ('.tif', '.tiff') else '.png'}"


def _predict_file(predictor: "Predictor", path: Path, output: Path, task: Prediction) -> Path:
    from unet_exp.data.classes import colorize, encode
    from unet_exp.data.images import read_pages, write_pages
    from unet_exp.inference.device import out_of_memory_told

    labels: list[NDArray[np.uint8]] = []
    probabilities: list[NDArray[np.float32]] = []  # (classes, H, W) a page
    try:
        with out_of_memory_told("take a smaller inference.tile"):
            for page in read_pages(path):
                classes = predictor.probabilities(page)
                labels.append(classes.argmax(axis=0).astype(np.uint8))
                if task.probabilities or task.instances:
                    probabilities.append(classes)
    except UserError as error:
        raise DataError(str(error) if str(path) in str(error) else f"{path}: {error}") from None
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"output={output}: this folder cannot be made ({error.strerror}); choose another") from None
    mask = output / _mask_name(path)
    write_pages(mask, [encode(label, predictor.classes) for label in labels])
    if task.preview:
        pages = [colorize(label, predictor.classes) for label in labels]
        suffix = ".png" if len(pages) == 1 else ".tif"
        write_pages(output / f"{path.stem}_preview{suffix}", pages)
    if task.probabilities:
        write_pages(output / f"{path.stem}_probabilities.tif", [share for page in probabilities for share in page])
    if task.instances:
        from unet_exp.inference.instances import write_instances

        write_instances(
            output / f"{path.stem}_instances{mask.suffix}",
            list(zip(labels, probabilities, strict=True)),
            predictor.classes,
            _cell_classes(task, predictor.classes),
            task.instances_holes,
            task.instances_smallest,
            task.instances_split,
        )
    return mask
