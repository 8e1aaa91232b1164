"""From image files to mask files: small ones in memory, large TIFFs by tiles."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unet_exp.config import IGNORE_LABEL
from unet_exp.errors import DataError, UserError
from unet_exp.figures.overlay import draw_prediction
from unet_exp.folder.pairs import read_within
from unet_exp.inference.batching import fits_batch
from unet_exp.inference.device import explain_out_of_memory
from unet_exp.inference.large.budget import OVERHEAD, Shape, format_size, whole_bytes
from unet_exp.inference.large.large_image import LargeImages
from unet_exp.inference.large.sharing import Share
from unet_exp.inference.predictor import Predictor, likeliest_class
from unet_exp.inference.tiling.overlap_tile import Size
from unet_exp.io.images import open_images
from unet_exp.io.kinds import TIFF_SUFFIXES
from unet_exp.io.scene import MAX_PIXELS, Reading, Scene
from unet_exp.io.writing import choose_suffix, make_output_folder, stem_of, suffix_of, write_pages
from unet_exp.samples.classes import encode

Computed = list[tuple[Scene, NDArray[np.float32]]]
"""Each page with its probabilities (classes, H, W)."""


@dataclass(frozen=True)
class Outputs:
    """Outputs for each image.

    Attributes:
        folder: of all files.
        preview: whether to write `<name>_preview`.
        probabilities: whether to write `<name>_probabilities`.
        write_cells: writes `<name>_instances`, or None; see `unet_exp.inference.instances.write_instances`.
        suffix: of the masks of the training, if it had any; see `choose_suffix`.
        names: with which the files of some images begin; others have the names of their images.
    """

    folder: Path
    preview: bool
    probabilities: bool
    write_cells: Callable[..., None] | None
    suffix: str | None = None
    names: Mapping[Path, str] = field(default_factory=dict)

    def place(self, path: Path, what: str, suffix: str) -> Path:
        """The file of an output of an image."""
        return self.folder / f"{self.names.get(path, stem_of(path))}_{what}{suffix}"

    def place_preview(self, path: Path, pages: int) -> Path:
        """The file of the preview of an image of so many pages."""
        return self.place(path, "preview", ".png" if pages == 1 else ".tif")


@dataclass(frozen=True)
class Inputs:
    """How the images are read, and which of their pixels hold data.

    Attributes:
        fill: value of pixels without data in the masks; see `unet_exp.samples.classes.choose_fill`.
        reading: what is wanted of their pixels.
        views: the file of the field of view of each image, if there are any.
        channels: all files of an image whose channels are in several, by the first of them.
    """

    fill: int | Sequence[int]
    reading: Reading
    views: Mapping[Path, Path] = field(default_factory=dict)
    channels: Mapping[Path, Sequence[Path]] = field(default_factory=dict)

    def files(self, path: Path) -> Sequence[Path]:
        """All files of an image, given the first."""
        return self.channels.get(path, (path,))


class FilePredictor:
    """Reads, computes and writes single files, for `unet_exp.inference.large.pipeline.run_overlapped`.

    Args:
        predictor: of the masks.
        inputs: which pixels of the images hold data.
        outputs: to write.
        budget: bytes that all files may take at a time, beside earlier memory of the process.
        report: prints a line about a large image.
        progress: shows a large image, its finished pixels, and all its pixels.
        share: which of the tiles of large images to predict; None for all.
    """

    def __init__(
        self,
        predictor: Predictor,
        inputs: Inputs,
        outputs: Outputs,
        budget: int,
        report: Callable[[str], None],
        progress: Callable[[Path, int, int], None],
        share: Share | None = None,
    ) -> None:
        self._predictor, self._inputs, self._outputs, self._budget = predictor, inputs, outputs, budget
        self._report = report
        self._large_images = LargeImages(predictor, inputs, outputs, budget, report, progress, self._tell_fill, share)
        self._large: set[Path] = set()
        self._unfinished: set[Path] = set()
        self._needed: dict[tuple[tuple[Shape, ...], int], int] = {}  # many files have one size
        self._told_fill = False

    def cost(self, path: Path) -> int:
        """Estimates the bytes of a file from reading to writing, from its headers."""
        files = len(self._inputs.files(path))
        try:
            pages, itemsize = _read_shapes(path, self._inputs.reading)
            pages = [(height, width, channels * files) for height, width, channels in pages]
        except UserError:  # `read` raises it again
            pages = []
        if not pages:
            return OVERHEAD
        classes = len(self._predictor.classes)
        pixels = sum(height * width for height, width, _ in pages)
        kept = 4 * classes * (self._outputs.probabilities or bool(self._outputs.write_cells)) + 40 * bool(
            self._outputs.write_cells
        )
        if (alike := (tuple(pages), itemsize)) not in self._needed:
            given = self._predictor.networks, len(self._predictor.normalizations), self._predictor.inference
            self._needed[alike] = whole_bytes(*given, pages, itemsize, classes)
        values = sum(map(math.prod, pages))
        needed = self._needed[alike] + kept * pixels + values * itemsize * self._outputs.preview
        too_large = any(height * width * max(4, channels) > 4 * MAX_PIXELS for height, width, channels in pages)
        if needed > self._budget or too_large:
            self._large.add(path)
            return max(needed, self._budget + 1)
        return needed

    def shares_tiles(self, path: Path) -> bool:
        """Whether all parts of a prediction predict an image together, tile by tile.

        So it is with one that does not fit into the memory, of this process or of one that has begun it.
        """
        self.cost(path)
        if self._large_images.is_begun(path):
            self._large.add(path)
        return path in self._large

    def read(self, path: Path) -> list[Scene]:
        """Reads the images of a file; none of a large one.

        Raises:
            DataError: for a file that cannot be read, and a large one that cannot be read by window.
        """
        if path not in self._large:
            return read_within(self._inputs.files(path), self._inputs.reading, self._inputs.views.get(path))
        if path.suffix.lower() not in TIFF_SUFFIXES or path in self._inputs.channels:
            needed = format_size(self.cost(path))
            raise DataError(
                f"{path}: its prediction takes up to {needed} of memory, and there are {format_size(self._budget)}: "
                "take a smaller inference.tile, save it as a tiled TIFF, which is read by window, or set "
                f"memory={needed} if there is so much"
            )
        return []

    def joins(self, batch: Sequence[list[Scene]], pages: list[Scene]) -> bool:
        """Whether a file of one page is predicted together with others, see `fits_batch`; not a large one."""
        if not all(len(read) == 1 for read in (*batch, pages)):
            return False
        sizes = [_find_size(read[0]) for read in batch]
        return fits_batch(sizes, _find_size(pages[0]), self._predictor.device, self._predictor.inference)

    def compute(self, paths: Sequence[Path], files: Sequence[list[Scene]]) -> list[Computed | UserError]:
        """Computes probabilities of each page of files that `joins` has joined; for a large one writes its outputs.

        A file that does not fit the network or the memory has its mistake in its place.
        """
        if len(paths) > 1:
            # Whose mistake it is shows when they are predicted one by one.
            with suppress(UserError), explain_out_of_memory(""):
                found = self._predictor.batch_probabilities([(page.pixels, page.valid) for (page,) in files])
                self._tell_fills(paths, files)
                return [[(page, shares)] for (page,), shares in zip(files, found, strict=True)]
        return [self._compute_alone(path, pages) for path, pages in zip(paths, files, strict=True)]

    def _compute_alone(self, path: Path, pages: list[Scene]) -> Computed | UserError:
        try:
            if path in self._large:
                with explain_out_of_memory("set a smaller memory="):
                    self._check_large(path)
                    if not self._large_images.predict(path):
                        self._unfinished.add(path)
                return []
            with explain_out_of_memory("take a smaller inference.tile"):
                self._tell_fills([path], [pages])
                predict = self._predictor.batch_probabilities
                return [(page, predict([(page.pixels, page.valid)])[0]) for page in pages]
        except UserError as error:
            return DataError(str(error) if str(path) in str(error) else f"{path}: {error}")

    def _tell_fills(self, paths: Sequence[Path], files: Sequence[list[Scene]]) -> None:
        for path, pages in zip(paths, files, strict=True):
            if any(page.valid is not None for page in pages):
                self._tell_fill(path)

    def write(self, path: Path, computed: Computed) -> Path | None:
        """Writes the outputs of a file.

        Returns:
            Its mask; None of a large image of which other parts are missing.

        Raises:
            DataError: if they cannot be written.
        """
        outputs, classes = self._outputs, self._predictor.classes
        if path in self._large:
            return None if path in self._unfinished else outputs.place(path, "mask", ".tif")
        scenes, found = [page for page, _ in computed], [shares for _, shares in computed]
        labels = [likeliest_class(shares) for shares in found]
        fill = self._inputs.fill if any((label == IGNORE_LABEL).any() for label in labels) else None
        pages = [encode(label, classes, fill) for label in labels]
        slice_axis = self._inputs.reading.slice_axis
        mask = outputs.place(path, "mask", choose_suffix(path, pages, outputs.suffix, slice_axis))
        make_output_folder(outputs.folder)
        write_pages(mask, pages, path, slice_axis)
        if outputs.preview:
            pages = [
                draw_prediction(page.pixels, label, classes, page.valid)
                for page, label in zip(scenes, labels, strict=True)
            ]
            write_pages(outputs.place_preview(path, len(labels)), pages)
        if outputs.probabilities:
            shares = [share for page in found for share in page]
            write_pages(outputs.place(path, "probabilities", ".tif"), shares, path)
        if outputs.write_cells:
            target = outputs.place(path, "instances", suffix_of(mask))
            predicted = list(zip(labels, found, strict=True))
            outputs.write_cells(target, path, predicted, classes, scenes=scenes if outputs.preview else ())
        return mask

    def _check_large(self, path: Path) -> None:
        """Refuses outputs and inputs that need the whole image."""
        for key, wanted in (("probabilities", self._outputs.probabilities), ("instances", self._outputs.write_cells)):
            if wanted:
                raise DataError(
                    f"{path}: {key}=true needs the whole image in memory, about {format_size(self.cost(path))}: leave "
                    "it out, set a larger memory= if there is so much, or cut the image"
                )
        if path in self._inputs.views:
            raise DataError(
                f"{path}: data.field_of_view needs the whole image in memory, about {format_size(self.cost(path))}: "
                "set a larger memory= if there is so much, or cut the image"
            )

    def _tell_fill(self, path: Path) -> None:
        """Says once which value means that there is no data."""
        if not self._told_fill:
            self._report(f"{path} has pixels without data: they are {self._inputs.fill} in the masks")
        self._told_fill = True


def _read_shapes(path: Path, reading: Reading) -> tuple[list[Shape], int]:
    """Reads the shapes of the images of a file, and the bytes of a value."""
    with open_images(path, reading) as images:
        return [images.size(page) for page in range(len(images))], images.itemsize


def _find_size(page: Scene) -> Size:
    return page.pixels.shape[0], page.pixels.shape[1]
