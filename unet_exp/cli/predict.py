"""The command predict: predicts masks for the user's own images."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import model_validator

from unet_exp.cli.entry import run_over_checkpoint
from unet_exp.config import ClassSpec, DataConfig, parse
from unet_exp.config.user_data import Axes, Axis, FolderConfig, NoData
from unet_exp.config.values import Natural, NonNegative
from unet_exp.errors import ConfigError, DataError, UserError
from unet_exp.progress import watch
from unet_exp.runs.run_folder import OUTPUTS
from unet_exp.schema import Strict, validate

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from unet_exp.checkpoints.checkpoint import Checkpoint
    from unet_exp.inference.large.file_predictor import Inputs, Outputs
    from unet_exp.inference.predictor import Predictor

USAGE = """Predict masks for images: PNG, JPEG, TIFF and TIFF stacks of any size.

Usage: python scripts/predict.py checkpoint=<file or run folder> input=<file, folder or glob> [key=value] ...

  checkpoint     the file, or a run's folder (its best.ckpt)
  input          a file, a folder, or a glob in quotes; a list of such, as data.images was: channels from several files
  output         the folder of the masks (outputs/predict); existing files are replaced
  preview        true (default): also <name>_preview.png, in the colours of the classes
  probabilities  true: also <name>_probabilities.tif, one float32 page per class
  memory         the most to use, such as 2GB (three quarters of the free memory); larger TIFFs are predicted by tiles
  trust          packages whose classes the checkpoint may name ([]): docs/extend.md
  instances      true: also <name>_instances, a number per cell, and <name>_instances.csv, a row per cell

Cells are the 4-connected components of a class:
  instances_classes   names of their classes, such as [cell,nucleus] (all classes except the first)
  instances_holes     holes of up to so many pixels are filled (0)
  instances_smallest  cells of fewer pixels are dropped (0)
  instances_split     cuts a cell at a waist whose radius is more than this many pixels below its bumps' (0: none)

A mask is written as <name>_mask, of the input's size, with the values or colours of the training labels: a TIFF for a
TIFF, with its georeference; a NIfTI for a NIfTI, with its geometry; else a file like the training masks (.png, .tif,
.bmp, .npy ...) or, where such a file does not hold it without loss, a PNG or TIFF.

More keys: inference=none|rotations7|flips8 (test-time augmentation), inference.<key>, data.nodata and
data.field_of_view (pixels without data; as in the training), data.axes and data.slice_axis (of arrays and volumes; as
in the training), trainer.accelerator and trainer.precision. Large images, and how to resume a killed prediction:
docs/predict.md.

Examples:
  python scripts/predict.py checkpoint=outputs/train/<run> input=slice.png
  python scripts/predict.py checkpoint=best.ckpt input='stack/*.tif' output=masks probabilities=true
  python scripts/predict.py checkpoint=best.ckpt input=large.tif inference=flips8 inference.tile=512
"""


class Prediction(Strict):
    """The command's own keys."""

    checkpoint: str
    input: str | list[str]
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


class PixelWords(Strict):
    """How pixels are read, and which hold data; see `unet_exp.config.user_data.FolderConfig`."""

    nodata: NoData = "declared"
    field_of_view: str | None = None
    axes: Axes | None = None
    slice_axis: Axis = "z"


class _Words(Strict):
    data: PixelWords


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
_PIXEL_KEYS = tuple(f"data.{key}" for key in PixelWords.model_fields)
MORE_KEYS = ("trust", *_PIXEL_KEYS, "inference", "trainer.accelerator", "trainer.precision")


def predict(values: dict[str, Any], checkpoint: "Checkpoint") -> list[Path]:
    """Predicts a mask for every image, by the keys of `Prediction` and of a training's config; returns the masks.

    It skips a file that cannot be read or does not fit, predicts the others, and names it at the end.

    Raises:
        UserError: for what the user can correct; DataError at the end if a file was skipped.
    """
    task = validate(Prediction, {key: values.pop(key) for key in DEFAULTS})
    words = _take_pixel_words(values)
    config = parse({**values, "output": task.output})
    if not task.input:
        raise DataError("input=<file, folder or glob> is missing")

    from unet_exp.console import make_console
    from unet_exp.inference.large.budget import SHARE_OF_FREE, read_size, return_freed_memory
    from unet_exp.inference.large.file_predictor import Outputs
    from unet_exp.inference.predictor import Predictor
    from unet_exp.memory import free_memory

    budget = read_size(task.memory) if task.memory else int(SHARE_OF_FREE * free_memory())
    if task.memory:
        return_freed_memory()
    console = make_console()
    images, output = _list_images(task.input, console), Path(task.output)
    paths = [files[0] for _, files in images]
    names = _name_outputs(images)
    _check_paths(names, output)
    inputs = _find_inputs(words, checkpoint.config.data, checkpoint.record.classes, images)
    predictor = Predictor(checkpoint, config.trainer.accelerator, config.trainer.precision, config.inference)
    write_cells = _plan_cells(task, predictor.classes, words.slice_axis) if task.instances else None
    outputs = Outputs(output, task.preview, task.probabilities, write_cells, checkpoint.record.mask_suffix, names)
    masks, failures = _predict_files(predictor, paths, inputs, outputs, budget, console)
    if masks:
        console.print(f"{len(masks)} of {len(paths)} files predicted; the masks are in")
        console.print(str(output), style="bold", soft_wrap=True)
    if failures:
        were = "was" if len(failures) == 1 else "were"
        hint = _explain_channels(checkpoint.config.data, task.input)
        raise DataError(f"{len(failures)} of {len(paths)} files {were} left out: " + "; ".join(failures) + hint)
    return masks


def _list_images(spec: str | list[str], console: "Console") -> list[tuple[str, tuple[Path, ...]]]:
    """The files of each image that `input` names, and its name; tells which files there are not read."""
    from unet_exp.folder.named_files import FileSpecs, Spec
    from unet_exp.folder.pairing import find_pairs
    from unet_exp.io.kinds import READ, describe_files, list_unread
    from unet_exp.io.listing import list_files

    if isinstance(spec, list):
        specs = tuple(Spec.of(f"input[{place}]", one) for place, one in enumerate(spec))
        return [(pair.name, pair.images) for pair in find_pairs(FileSpecs(specs, {}), lambda _: True)]
    try:
        images, others = list_files(spec, recursive=False)
    except DataError:
        if not _is_series(Path(spec).expanduser()):
            raise
        images, others = [(Path(spec).name, Path(spec).expanduser())], []
    if unread := list_unread(others):
        console.print(f"left out are {describe_files(unread)}; {READ}", soft_wrap=True)
    return [(name, (path,)) for name, path in images]


def _is_series(folder: Path) -> bool:
    """Whether a folder is a DICOM series, whose files may have any names."""
    from unet_exp.io.images import Reading, open_images

    try:
        with open_images(folder, Reading()):
            return folder.is_dir()
    except DataError:
        return False


def _explain_channels(config: DataConfig, spec: str | list[str]) -> str:
    """What to type where the training had several files an image, and `input` one."""
    count = len(config.image_specs) if isinstance(config, FolderConfig) else 1
    if count == 1 or isinstance(spec, list):
        return ""
    return f"; the training had {count} files an image: type input=[...] with one of each, in their order"


def _name_outputs(images: Sequence[tuple[str, Sequence[Path]]]) -> dict[Path, str]:
    """The beginning of the names of the outputs of each image: the name of its file, or of the container around it.

    Where several files have one name it is what the wildcards match.
    """
    from unet_exp.io.images import split_inner
    from unet_exp.io.writing import stem_of

    stems = [stem_of(split_inner(files[0])[0]) for _, files in images]
    numbers = Counter(stems)
    return {
        files[0]: stem if numbers[stem] == 1 else name.replace("/", "_")
        for stem, (name, files) in zip(stems, images, strict=True)
    }


def _take_pixel_words(values: dict[str, Any]) -> PixelWords:
    """The words about pixels; takes them out of the values of a training that does not have them."""
    data: dict[str, Any] = values["data"]
    words = validate(_Words, {"data": {key: data[key] for key in PixelWords.model_fields}}).data
    if data["name"] != "folder":
        values["data"] = {key: value for key, value in data.items() if key not in PixelWords.model_fields}
    return words


def _are_of_training(config: DataConfig, images: Iterable[Path]) -> bool:
    """Whether all images are files that `data.images` names."""
    from unet_exp.io.listing import list_files

    if not isinstance(config, FolderConfig):
        return False
    try:
        known = {path.resolve() for spec in config.image_specs for _, path in list_files(spec).images}
    except DataError:  # they are gone
        return False
    return all(path.resolve() in known for path in images)


def _find_inputs(
    words: PixelWords,
    config: DataConfig,
    classes: Sequence[ClassSpec],
    images: Sequence[tuple[str, tuple[Path, ...]]],
) -> "Inputs":
    """What is known of the pixels of images, by name; `config` is the data config of the training."""
    from unet_exp.folder.named_files import Spec
    from unet_exp.folder.pairing import find_views
    from unet_exp.inference.large.file_predictor import Inputs
    from unet_exp.io.scene import Reading
    from unet_exp.samples.classes import choose_fill

    folder = config if isinstance(config, FolderConfig) else None
    ignored, trained_view = (folder.ignored_values, folder.field_of_view) if folder else ((), None)
    views: dict[str, Path] = {}
    firsts = {name: files[0] for name, files in images}
    if words.field_of_view is not None:
        ask = (
            f"the network was trained with data.field_of_view={trained_view}: type the masks of these images, or "
            "data.field_of_view=null to take the whole images"
        )
        if words.field_of_view == trained_view and not _are_of_training(config, firsts.values()):
            raise DataError(f"input: these are not the images of the training, and {ask}")
        # That of the training is below its root.
        path = folder.view_spec if folder and words.field_of_view == trained_view else None
        try:
            views = find_views(Spec("data.field_of_view", words.field_of_view, path or words.field_of_view), firsts)
        except DataError as error:
            raise DataError(f"{error}; {ask}" if trained_view else str(error)) from None
    by_image = {firsts[name]: view for name, view in views.items()}
    channels = {files[0]: files for _, files in images if len(files) > 1}
    reading = Reading(words.nodata, axes=words.axes, slice_axis=words.slice_axis)
    return Inputs(choose_fill(classes, ignored), reading, by_image, channels)


def _predict_files(
    predictor: "Predictor",
    paths: Sequence[Path],
    inputs: "Inputs",
    outputs: "Outputs",
    budget: int,
    console: "Console",
) -> tuple[list[Path], list[str]]:
    """The written masks, and why files were skipped."""
    from rich.progress import TaskID

    from unet_exp.inference.large.file_predictor import FilePredictor
    from unet_exp.inference.large.pipeline import run_overlapped

    masks: list[Path] = []
    failures: list[str] = []
    with watch("predicting", len(paths)) as phase, _progress(console) as progress:
        bars: dict[Path, TaskID] = {}

        def show(path: Path, done: int, total: int) -> None:
            if path not in bars:
                bars[path] = progress.add_task(path.name, total=total, completed=done, unit="pixels")
            progress.update(bars[path], completed=done, visible=done < total)
            phase.state = f"{path.name} {done / total:.0%}, {len(masks) + len(failures)} of {len(paths)} files done"

        work = FilePredictor(predictor, inputs, outputs, budget, partial(console.print, soft_wrap=True), show)
        files = progress.add_task("predicting", total=len(paths), unit="files", visible=len(paths) > 1)
        jobs = ((path, work.cost(path)) for path in paths)
        with closing(run_overlapped(jobs, budget, work.read, work.compute, work.write)) as results:
            for _, result in results:
                if isinstance(result, UserError):
                    failures.append(str(result))
                else:
                    masks.append(result)
                progress.advance(files)
                phase.done, phase.state = phase.done + 1, ""
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

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:.0f} %"),
        Speed(),
    )
    return Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal)


def _check_paths(names: Mapping[Path, str], output: Path) -> None:
    """Two inputs must not write the same files, and no mask may be an input of the next call."""
    from unet_exp.io.images import split_inner

    if any(split_inner(path)[0].parent.resolve() == output.resolve() for path in names):
        raise DataError(
            f"output={output} is the folder of the input, and its masks would be input next time; choose another"
        )
    if output.exists() and not output.is_dir():
        raise DataError(f"output={output}: this folder cannot be made (File exists); choose another")
    seen: dict[str, Path] = {}
    for path, stem in names.items():
        if stem in seen:
            raise DataError(
                f"{seen[stem]} and {path} would both be written to {stem}_...; "
                "predict them one after another, each with an output= of its own"
            )
        seen[stem] = path


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
