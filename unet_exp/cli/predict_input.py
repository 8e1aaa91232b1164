"""What `input` of the command predict names: the files of each image, what is known of their pixels, and of outputs."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unet_exp.config import ClassSpec, DataConfig
from unet_exp.config.user_data import Axes, Axis, FolderConfig, NoData
from unet_exp.errors import DataError
from unet_exp.schema import Strict, validate

if TYPE_CHECKING:
    from rich.console import Console

    from unet_exp.inference.large.file_predictor import Inputs

Named = tuple[str, tuple[Path, ...]]
"""The name of an image, and its files: those of its channels."""


class PixelWords(Strict):
    """How pixels are read, and which hold data; see `unet_exp.config.user_data.FolderConfig`."""

    nodata: NoData = "declared"
    field_of_view: str | None = None
    axes: Axes | None = None
    slice_axis: Axis = "z"


class _Words(Strict):
    data: PixelWords


def take_pixel_words(values: dict[str, Any]) -> PixelWords:
    """The words about pixels; takes them out of the values of a training that does not have them."""
    data: dict[str, Any] = values["data"]
    words = validate(_Words, {"data": {key: data[key] for key in PixelWords.model_fields}}).data
    if data["name"] != "folder":
        values["data"] = {key: value for key, value in data.items() if key not in PixelWords.model_fields}
    return words


def list_images(spec: str | list[str], console: "Console") -> list[Named]:
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
    from unet_exp.io.images import open_images
    from unet_exp.io.scene import Reading

    try:
        with open_images(folder, Reading()):
            return folder.is_dir()
    except DataError:
        return False


def explain_channels(config: DataConfig, spec: str | list[str]) -> str:
    """What to type where the training had several files an image, and `input` one."""
    count = len(config.image_specs) if isinstance(config, FolderConfig) else 1
    if count == 1 or isinstance(spec, list):
        return ""
    return f"; the training had {count} files an image: type input=[...] with one of each, in their order"


def name_outputs(images: Sequence[Named]) -> dict[Path, str]:
    """The beginning of the names of the outputs of each image: the name of its file, or of the container around it.

    Where several files have one name it is what the wildcards match.
    """
    from unet_exp.io.stored import split_inner
    from unet_exp.io.writing import stem_of

    stems = [stem_of(split_inner(files[0])[0]) for _, files in images]
    numbers = Counter(stems)
    return {
        files[0]: stem if numbers[stem] == 1 else name.replace("/", "_")
        for stem, (name, files) in zip(stems, images, strict=True)
    }


def check_paths(names: Mapping[Path, str], output: Path) -> None:
    """Two inputs must not write the same files, and no mask may be an input of the next call."""
    from unet_exp.io.stored import split_inner

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


def find_inputs(
    words: PixelWords,
    config: DataConfig,
    classes: Sequence[ClassSpec],
    images: Sequence[Named],
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
