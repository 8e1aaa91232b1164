"""The command predict: predicts masks for the user's own images."""

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, model_validator

from unet_exp.cli.entry import run_over_checkpoint
from unet_exp.cli.predict_files import Predicted, predict_files
from unet_exp.cli.predict_input import (
    PixelWords,
    check_paths,
    explain_channels,
    find_inputs,
    list_images,
    name_outputs,
    take_pixel_words,
)
from unet_exp.cli.predict_part import PartWord, measure_images, read_share
from unet_exp.config import ClassSpec, Config, parse
from unet_exp.config.user_data import Axis
from unet_exp.config.values import Natural, NonNegative, PathName
from unet_exp.errors import ConfigError, DataError
from unet_exp.inference.large.sharing import Share
from unet_exp.runs.run_folder import OUTPUTS
from unet_exp.schema import Strict, validate
from unet_exp.typed import write_value

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from unet_exp.cli.over_checkpoints import OverCheckpoints
    from unet_exp.inference.large.file_predictor import Outputs
    from unet_exp.inference.predictor import Predictor

USAGE = """Predict masks for images, stacks and volumes, in files of all kinds that trainings read.

Usage: python scripts/predict.py checkpoint=<file or run folder> input=<file, folder or glob> [key=value] ...

  checkpoint     the file, or a run's folder (its best.ckpt); the mean of several: a list [a,b], a glob in quotes, or a
                 sweep's folder (the finished runs)
  input          a file, a folder, or a glob in quotes; a list of such, as data.images was: channels from several files
  output         the folder of the masks (outputs/predict); existing files are replaced
  preview        true (default): also <name>_preview.png: the image, the classes in their colours, and both together
  probabilities  true: also <name>_probabilities.tif, one float32 page per class
  memory         the most to use, such as 2GB (three quarters of the free memory); larger TIFFs are predicted by tiles
  part           2/8: the second of eight processes that share the work; auto: as SLURM or torchrun numbers this one
  trust          packages whose classes the checkpoint may name ([]): docs/extend.md
  instances      true: also <name>_instances, a number per object (dark for the eye), <name>_instances_preview.png, the
                 objects in colours, <name>_instances.csv, a row per object, and instances.csv, those of all images

Objects are the 4-connected components of a class:
  instances_classes   names of their classes, such as [cell,nucleus] (all classes except the first)
  instances_holes     holes of up to so many pixels are filled (0)
  instances_smallest  objects of fewer pixels are dropped (0)
  instances_split     cuts an object at a waist whose radius is more than this many pixels below its bumps' (0: none)

A mask is written as <name>_mask, of the input's size, with the values or colours of the training labels: a TIFF for a
TIFF, with its georeference; a NIfTI for a NIfTI, with its geometry; else a file like the training masks (.png, .tif,
.bmp, .npy ...) or, where such a file does not hold it without loss, a PNG or TIFF.

More keys: inference=none|rotations7|flips8 (test-time augmentation), inference.<key>, data.nodata and
data.field_of_view (pixels without data; as in the training), data.axes and data.slice_axis (of arrays and volumes; as
in the training), trainer.accelerator and trainer.precision. Large images, how to resume a killed prediction, and
how to share one out over several machines: docs/predict.md.

Examples:
  python scripts/predict.py checkpoint=outputs/train/<run> input=slice.png
  python scripts/predict.py checkpoint=best.ckpt input='stack/*.tif' output=masks probabilities=true
  python scripts/predict.py checkpoint=best.ckpt input=large.tif inference=flips8 inference.tile=512
  sbatch --array=1-8 --wrap 'python scripts/predict.py checkpoint=best.ckpt input=scans output=masks part=auto'
"""

_MOST_COUNTED = 20
"""Images whose objects are counted one by one on the screen."""


class Prediction(Strict):
    """The command's own keys."""

    checkpoint: PathName | list[PathName]
    input: PathName | list[PathName]
    output: PathName
    preview: bool
    probabilities: bool
    memory: Annotated[str, Field(description="such as `2GB`")] | None
    part: PartWord
    instances: bool
    instances_classes: list[str] | None
    instances_holes: Natural
    instances_smallest: Natural
    instances_split: NonNegative

    @model_validator(mode="after")
    def _check_instances(self) -> "Prediction":
        for key in ("instances_classes", "instances_holes", "instances_smallest", "instances_split"):
            if getattr(self, key) and not self.instances:
                raise ValueError(f"{key} does nothing without instances=true")
        if self.instances_classes == []:
            raise ValueError("instances_classes=[]: name a class, or leave the key out for every class but the first")
        return self


DEFAULTS: dict[str, Any] = {
    "checkpoint": "",
    "input": "",
    "output": f"{OUTPUTS}/predict",
    "preview": True,
    "probabilities": False,
    "memory": None,
    "part": None,
    "instances": False,
    "instances_classes": None,
    "instances_holes": 0,
    "instances_smallest": 0,
    "instances_split": 0.0,
}
_PIXEL_KEYS = tuple(f"data.{key}" for key in PixelWords.model_fields)
MORE_KEYS = ("trust", *_PIXEL_KEYS, "inference", "trainer.accelerator", "trainer.precision")


def predict(over: "OverCheckpoints") -> list[Path]:
    """Predicts a mask for every image, by the keys of `Prediction` and of a training's config; returns the masks.

    It skips a file that cannot be read or does not fit, predicts the others, and names it at the end.

    Raises:
        UserError: for what the user can correct; DataError at the end if a file was skipped.
    """
    over.check_agreement()
    checkpoint = over.checkpoints[0]
    values = over.compose(checkpoint)
    task = validate(Prediction, {key: values.pop(key) for key in DEFAULTS})
    words = take_pixel_words(values)
    config = parse({**values, "output": task.output})
    share = read_share(task.part, os.environ)
    if not task.input:
        raise DataError("input=<file, folder or glob> is missing")

    from unet_exp.console import make_console
    from unet_exp.inference.large.budget import SHARE_OF_FREE, read_size
    from unet_exp.inference.large.file_predictor import Outputs
    from unet_exp.memory import free_memory

    typed = read_size(task.memory) if task.memory else None
    console = make_console()
    images, output = list_images(task.input, console), Path(task.output)
    names = name_outputs(images)
    check_paths(names, output)
    inputs = find_inputs(words, checkpoint.config.data, checkpoint.record.classes, images)
    over.describe(console)
    predictor = _make_predictor(over, config, typed, share)
    # Only now: the networks lie in the memory.
    budget = typed or int(SHARE_OF_FREE * free_memory()) // (share.slots if share else 1)
    write_cells = _plan_cells(task, predictor.classes, words.slice_axis) if task.instances else None
    outputs = Outputs(output, task.preview, task.probabilities, write_cells, checkpoint.record.mask_suffix, names)
    earlier = {path.name for path in output.glob("*_mask.*")}
    sizes = dict(zip(names, measure_images(images) if share else [0] * len(images), strict=True))
    found = predict_files(predictor, sizes, inputs, outputs, budget, console, share)
    if task.instances and found.masks:
        _report_objects(task, found, names, outputs, [spec.name for spec in predictor.classes], share, console)
    replaced = sum(mask.name in earlier for mask in found.masks)
    _report(found, len(images), replaced, share, output, console)
    if found.failures:
        were = "was" if found.failed == 1 else "were"
        hint = explain_channels(checkpoint.config.data, task.input)
        raise DataError(f"{found.failed} of {found.files} files {were} left out: {found.explain_failures()}{hint}")
    return found.masks


def _make_predictor(over: "OverCheckpoints", config: Config, memory: int | None, share: Share | None) -> "Predictor":
    """The predictor, and what becomes of freed memory: it is kept for the next pass where `memory` is not limited."""
    from unet_exp.inference.device import use_gpu
    from unet_exp.inference.predictor import Predictor
    from unet_exp.memory import keep_freed_memory, return_freed_memory

    if memory:
        return_freed_memory()
    else:
        keep_freed_memory()
    if share:
        use_gpu(share.slot)
    trainer, of_tiles = config.trainer, 2 * memory // 3 if memory else None
    return Predictor(over.checkpoints, trainer.accelerator, trainer.precision, config.inference, of_tiles)


def _report(
    found: Predicted, images: int, replaced: int, share: Share | None, output: Path, console: "Console"
) -> None:
    """Says what was predicted, how many masks of an earlier prediction that has replaced, and where it is."""
    part = f"{share}: " if share else ""
    if found.masks:
        earlier = f", {replaced} in place of an earlier mask" if replaced else ""
        console.print(
            f"{part}{len(found.masks)} of {images} files predicted{earlier}; the masks are in", soft_wrap=True
        )
        console.print(str(output), style="bold", soft_wrap=True)
    elif not found.files:
        others = "the only file" if images == 1 else f"the {images} files"
        console.print(
            f"{part}nothing to do, other parts predict {others}; TIFFs that take more than the memory are shared out "
            "by tiles: type a smaller memory= for all parts",
            soft_wrap=True,
        )


def _report_objects(
    task: Prediction,
    found: Predicted,
    images: Iterable[Path],
    outputs: "Outputs",
    names: Sequence[str],
    share: Share | None,
    console: "Console",
) -> None:
    """Counts the objects of each class, of few images also in each of these, and joins the tables of all images."""
    from unet_exp.inference.instance_tables import count_objects, join_tables

    tables = {image: outputs.place(image, "instances", ".csv") for image in images if share or image in found.images}
    joined = join_tables(outputs.folder, tables)
    counted = task.instances_classes or names[1:]
    each = {image: count_objects(outputs.place(image, "instances", ".csv"), counted) for image in found.images}
    numbers = {name: sum(count[name] for count in each.values()) for name in counted}
    told = ", ".join(f"{name} {number}" for name, number in numbers.items())
    most = max(numbers, key=lambda name: numbers[name])
    one = shlex.quote(f"instances_classes={write_value([most])}")
    hint = f"; {one} counts these alone" if len(counted) > 1 and task.instances_classes is None else ""
    part = f"{share}: " if share else ""
    console.print(f"{part}objects: {told}{hint}", soft_wrap=True)
    if 1 < len(each) <= _MOST_COUNTED:
        console.print(_tabulate_objects(each, counted))
    console.print(f"{joined}: a row for each object, with its image in the column file", soft_wrap=True)


def _tabulate_objects(counts: Mapping[Path, Mapping[str, int]], classes: Sequence[str]) -> "Table":
    """The number of objects of each class in each image."""
    from rich.table import Table

    table = Table("file")
    for name in classes:
        table.add_column(name, justify="right")
    for image, count in counts.items():
        table.add_row(str(image), *(str(count[name]) for name in classes))
    table.columns[0].overflow = "fold"
    return table


def _plan_cells(task: Prediction, specs: Sequence[ClassSpec], slice_axis: Axis) -> "partial[None]":
    """What writes the cells of an image, see `Outputs`."""
    from unet_exp.inference.instances import write_instances

    return partial(
        write_instances,
        classes=_cell_classes(task, specs),
        holes=task.instances_holes,
        smallest=task.instances_smallest,
        split=task.instances_split,
        slice_axis=slice_axis,
    )


def _cell_classes(task: Prediction, specs: Sequence[ClassSpec]) -> list[int]:
    """Indices of the classes that are cells."""
    names = [spec.name for spec in specs]
    wanted = names[1:] if task.instances_classes is None else task.instances_classes
    for name in wanted:
        if name not in names:
            raise ConfigError(f"instances_classes: there is no class {name!r}; choose among {', '.join(names)}")
        if wanted.count(name) > 1:
            raise ConfigError(f"instances_classes: {name!r} stands there twice")
    return [names.index(name) for name in wanted]


def main() -> None:
    """Runs `scripts/predict.py`."""
    run_over_checkpoint(USAGE, DEFAULTS, MORE_KEYS, predict, PixelWords().model_dump())
