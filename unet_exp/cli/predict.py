"""The command predict: predicts masks for the user's own images."""

from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import model_validator

from unet_exp.cli.entry import run_over_checkpoint
from unet_exp.config import ClassSpec, parse
from unet_exp.config.values import Natural, NonNegative
from unet_exp.errors import ConfigError, DataError, UserError
from unet_exp.runs.run_folder import OUTPUTS
from unet_exp.schema import Strict, validate

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from unet_exp.checkpoints.checkpoint import Checkpoint
    from unet_exp.inference.large.file_predictor import Outputs
    from unet_exp.inference.predictor import Predictor

USAGE = """Predict masks for images: PNG, JPEG, TIFF and TIFF stacks of any size.

Usage: python scripts/predict.py checkpoint=<file or run folder> input=<file, folder or glob> [key=value] ...

  checkpoint     the file, or a run's folder (its best.ckpt)
  input          a file, a folder, or a glob in quotes
  output         the folder of the masks (outputs/predict); files of the same name are replaced
  preview        true (default): <name>_preview.png too, in the classes' colours
  probabilities  true: <name>_probabilities.tif too, a float32 page a class
  memory         what may be taken, such as 2GB (three quarters of what is free); larger TIFFs are predicted by tiles
  trust          packages whose classes the checkpoint may name ([]): docs/extend.md
  instances      true: <name>_instances.png or .tif too, a number a cell, and <name>_instances.csv, a row a cell

Cells are the 4-connected parts of a class; these say which and how:
  instances_classes   their names, such as [cell,nucleus] (every class but the first)
  instances_holes     what a cell encloses is filled up to so many pixels (0)
  instances_smallest  cells of fewer pixels are dropped (0)
  instances_split     cuts cells at waists whose radius is smaller than the bumps' by more than so many pixels (0: none)

A mask is written as <name>_mask.png (or .tif for a TIFF), of the input's size, with the values or colours that the
training labels had. inference=none|rotations7|flips8, inference.<key>, trainer.accelerator and trainer.precision can be
typed too. Large images, and how a killed prediction goes on: docs/predict.md.

Examples:
  python scripts/predict.py checkpoint=outputs/train/<run> input=slice.png
  python scripts/predict.py checkpoint=best.ckpt input='stack/*.tif' output=masks probabilities=true
  python scripts/predict.py checkpoint=best.ckpt input=large.tif inference=flips8 inference.tile=512
"""


class Prediction(Strict):
    """The command's own keys."""

    checkpoint: str
    input: str
    output: str
    preview: bool
    probabilities: bool
    memory: str | None
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
    "instances": False,
    "instances_classes": None,
    "instances_holes": 0,
    "instances_smallest": 0,
    "instances_split": 0.0,
}
MORE_KEYS = ("trust", "inference", "trainer.accelerator", "trainer.precision")


def predict(values: dict[str, Any], checkpoint: "Checkpoint") -> list[Path]:
    """Predicts a mask for every image, by the keys of `Prediction` and of a training's config; returns the masks.

    It skips a file that cannot be read or does not fit, predicts the others, and names it at the end.

    Raises:
        UserError: for what the user can correct; DataError at the end if a file was skipped.
    """
    task = validate(Prediction, {key: values.pop(key) for key in DEFAULTS})
    config = parse({**values, "output": task.output})
    if not task.input:
        raise DataError("input=<file, folder or glob> is missing")

    from rich.console import Console

    from unet_exp.data.io.images import list_images
    from unet_exp.inference.large.budget import SHARE_OF_FREE, give_back_at_once, read_size
    from unet_exp.inference.large.file_predictor import Cells, Outputs
    from unet_exp.inference.predictor import Predictor
    from unet_exp.memory import free_memory

    budget = read_size(task.memory) if task.memory else int(SHARE_OF_FREE * free_memory())
    if task.memory:
        give_back_at_once()
    console = Console(highlight=False)
    paths, output = list_images(task.input), Path(task.output)
    _check_paths(paths, output)
    predictor = Predictor(checkpoint, config.trainer.accelerator, config.trainer.precision, config.inference)
    cells = None
    if task.instances:
        classes = _cell_classes(task, predictor.classes)
        cells = Cells(classes, task.instances_holes, task.instances_smallest, task.instances_split)
    outputs = Outputs(output, task.preview, task.probabilities, cells)
    masks, failures = _predict_files(predictor, paths, outputs, budget, console)
    if masks:
        console.print(f"{len(masks)} of {len(paths)} files predicted; the masks are in")
        console.print(str(output), style="bold", soft_wrap=True)
    if failures:
        were = "was" if len(failures) == 1 else "were"
        raise DataError(f"{len(failures)} of {len(paths)} files {were} left out: " + "; ".join(failures))
    return masks


def _predict_files(
    predictor: "Predictor", paths: Sequence[Path], outputs: "Outputs", budget: int, console: "Console"
) -> tuple[list[Path], list[str]]:
    """The written masks, and why files were skipped."""
    from rich.progress import TaskID

    from unet_exp.inference.large.file_predictor import FilePredictor
    from unet_exp.inference.large.pipeline import run_overlapped

    masks: list[Path] = []
    failures: list[str] = []
    with _progress(console) as progress:
        bars: dict[Path, TaskID] = {}

        def show(path: Path, done: int, total: int) -> None:
            if path not in bars:
                bars[path] = progress.add_task(path.name, total=total, completed=done, unit="pixels")
            progress.update(bars[path], completed=done, visible=done < total)

        work = FilePredictor(predictor, outputs, budget, partial(console.print, soft_wrap=True), show)
        files = progress.add_task("predicting", total=len(paths), unit="files", visible=len(paths) > 1)
        jobs = ((path, work.cost(path)) for path in paths)
        with closing(run_overlapped(jobs, budget, work.read, work.compute, work.write)) as results:
            for _, result in results:
                if isinstance(result, UserError):
                    failures.append(str(result))
                else:
                    masks.append(result)
                progress.advance(files)
    return masks, failures


def _progress(console: "Console") -> "Progress":
    """A bar for the files, and one for each large image, with its speed; nothing without a terminal."""
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Speed(ProgressColumn):
        def render(self, task: Task) -> Text:
            if not task.speed:
                return Text()
            pixels = task.fields["unit"] == "pixels"
            return Text(f"{task.speed / 1e6:.2f} million pixels/s" if pixels else f"{task.speed:.1f} files/s")

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %"), Speed())
    return Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal)


def _check_paths(paths: Sequence[Path], output: Path) -> None:
    """Two inputs must not write the same files, and no mask may be an input of the next call."""
    if any(path.parent.resolve() == output.resolve() for path in paths):
        raise DataError(
            f"output={output} is the folder of the input, and its masks would be input next time; choose another"
        )
    if output.exists() and not output.is_dir():
        raise DataError(f"output={output}: this folder cannot be made (File exists); choose another")
    seen: dict[str, Path] = {}
    for path in paths:
        if path.stem in seen:
            raise DataError(
                f"{seen[path.stem]} and {path} would both be written to {path.stem}_...; "
                "predict them one after another, each with an output= of its own"
            )
        seen[path.stem] = path


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
    run_over_checkpoint(USAGE, DEFAULTS, MORE_KEYS, predict)
