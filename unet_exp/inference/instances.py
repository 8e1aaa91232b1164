"""Cells of a predicted mask: its connected components, cleaned, numbered and measured.

Shapes: H height and W width in pixels; rows and columns count from 0 at the top left.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label
from skimage.morphology import local_maxima, reconstruction
from skimage.segmentation import watershed

from unet_exp.config import IGNORE_LABEL, ClassSpec
from unet_exp.config.user_data import Axis
from unet_exp.figures.overlay import color_cells
from unet_exp.files import write_whole
from unet_exp.io.scene import Scene
from unet_exp.io.writing import choose_suffix, stem_of, suffix_of, write_pages

Ids = NDArray[np.uint16] | NDArray[np.uint32]


def number_cells(
    prediction: NDArray[np.uint8], classes: Sequence[int], holes: int = 0, smallest: int = 0, split: float = 0
) -> tuple[Ids, NDArray[np.uint8]]:
    """Numbers the cells of a mask: the 4-connected components of each class.

    Args:
        prediction: (H, W) class indices.
        classes: the indices of cells, each once; pixels of other classes lie between cells.
        holes: largest hole, in pixels, that is filled. A hole holds no cell of another class and no pixel without data,
            and does not touch the border of the image.
        smallest: cells of fewer pixels are dropped, after filling and splitting.
        split: 0 leaves cells that touch as one; else see `split_cells`.

    Returns:
        (H, W), 0 between cells and 1 to n in the order of `classes`, and in a class from the top left to the bottom
        right, uint16 or, for a larger n, uint32; and the class of each cell, (n,).
    """
    ids: NDArray[np.int64] = np.zeros(prediction.shape, np.int64)
    owner = np.zeros_like(prediction)
    for index in classes:
        mask = prediction == index
        if holes:
            mask |= _find_holes(mask, np.isin(prediction, [*classes, IGNORE_LABEL]), holes)
        cells: NDArray[np.integer] = ndimage.label(mask)[0]
        if split:
            cells = split_cells(cells, split)
        ids[mask], owner[mask] = cells[mask] + ids.max(initial=0), index
    if smallest:
        ids[np.bincount(ids.ravel())[ids] < smallest] = 0
    left, numbers = np.unique(np.append(0, ids), return_inverse=True)
    closed = numbers[1:].reshape(prediction.shape)  # without the gaps
    owners = np.zeros(len(left), np.uint8)
    owners[closed] = owner
    few = len(left) - 1 <= np.iinfo(np.uint16).max
    return closed.astype(np.uint16) if few else closed.astype(np.uint32), owners[1:]


def _find_holes(mask: NDArray[np.bool_], cells: NDArray[np.bool_], largest: int) -> NDArray[np.bool_]:
    """Finds holes in `mask` (H, W) of up to `largest` pixels without any of `cells` (H, W)."""
    # Cells are 4-connected, so the space between them is 8-connected: each hole then lies in one cell.
    outside = ndimage.label(~mask, structure=np.ones((3, 3)))[0]
    is_hole = np.bincount(outside.ravel()) <= largest
    is_hole[outside[cells & ~mask]] = False
    for edge in (outside[0], outside[-1], outside[:, 0], outside[:, -1]):
        is_hole[edge] = False
    is_hole[0] = False
    found: NDArray[np.bool_] = is_hole[outside]
    return found


def split_cells(cells: NDArray[np.integer], depth: float) -> NDArray[np.integer]:
    """Cuts cells at their waists, by a watershed of the distance to their border (Soille 2003, sections 6.3.4, 9.2).

    A cell is cut between two of its bumps where the waist is narrower than the smaller bump by more than `depth`:
    the seeds are the regional maxima of the distance's h-maxima transform with h = `depth`.

    Args:
        cells: (H, W), 0 between cells, one number a cell, each 4-connected.
        depth: pixels of radius, above 0; the larger, the fewer cuts.

    Returns:
        (H, W), one number a part, from 1; 0 where `cells` is 0.
    """
    inside = cells > 0
    # The padding gives a cell that fills the image a border.
    distance = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    cross = ndimage.generate_binary_structure(2, 1)
    levelled = reconstruction(np.maximum(distance - depth, 0), distance, footprint=cross)  # type: ignore[no-untyped-call]
    tops = local_maxima(levelled, connectivity=1) & (levelled > 0)  # type: ignore[no-untyped-call]
    small = inside & ~np.isin(cells, cells[tops])  # no higher than `depth`: not cut
    seeds = label(np.where(tops | small, cells, 0), connectivity=1)  # type: ignore[no-untyped-call]
    parts = watershed(-distance, seeds, connectivity=1, mask=inside)  # type: ignore[no-untyped-call]
    # Numbered from the top left, as cells are.
    ordered: NDArray[np.integer] = label(parts, connectivity=1)  # type: ignore[no-untyped-call]
    return ordered


def measure_cells(
    ids: Ids, owners: NDArray[np.uint8], probabilities: NDArray[np.float32], names: Sequence[str]
) -> pd.DataFrame:
    """Measures numbered cells.

    Args:
        ids: (H, W), from `number_cells`.
        owners: (n,), likewise: the class of each cell.
        probabilities: (classes, H, W).
        names: of the classes.

    Returns:
        A row a cell: `id`; `class`, its name; `area` in pixels; `row` and `column` of its centre of mass; its box from
        `top`, `left` to `bottom`, `right`, the last two exclusive; `probability`, the mean probability of its class
        over its pixels.
    """
    found = np.arange(1, len(owners) + 1)
    # Pixels between cells are not read: any class serves there.
    own = np.take_along_axis(probabilities, np.append([0], owners)[ids][None], axis=0)[0]
    centres = np.reshape(ndimage.center_of_mass(ids > 0, ids, found), (-1, 2))
    boxes = [box for box in ndimage.find_objects(ids.astype(np.int64)) if box]
    return pd.DataFrame(
        {
            "id": found,
            "class": [names[index] for index in owners],
            "area": np.bincount(ids.ravel(), minlength=1)[1:],
            "row": centres[:, 0],
            "column": centres[:, 1],
            "top": [rows.start for rows, _ in boxes],
            "left": [columns.start for _, columns in boxes],
            "bottom": [rows.stop for rows, _ in boxes],
            "right": [columns.stop for _, columns in boxes],
            "probability": ndimage.mean(own, ids, found),
        }
    )


def write_instances(
    target: Path,
    image: Path,
    pages: Sequence[tuple[NDArray[np.uint8], NDArray[np.float32]]],
    specs: Sequence[ClassSpec],
    classes: Sequence[int],
    holes: int = 0,
    smallest: int = 0,
    split: float = 0,
    slice_axis: Axis = "z",
    scenes: Sequence[Scene] = (),
) -> None:
    """Writes the numbered cells of an image as a picture, and beside it their table as a CSV; see `number_cells`.

    Args:
        target: of the picture; another kind of file where one of this kind cannot hold the numbers or the pages. The
            table has its name with `.csv`: a first column `page`, from 0, then those of `measure_cells`; centres to a
            thousandth of a pixel, probabilities to six digits.
        image: in which the cells are; see `unet_exp.io.writing.write_pages`.
        pages: prediction (H, W) and probabilities (classes, H, W) of each page; each has numbers of its own.
        specs: all the classes.
        classes: the indices of cells.
        holes: in pixels.
        smallest: in pixels.
        split: in pixels.
        slice_axis: see `unet_exp.io.writing.write_pages`.
        scenes: the pages of the image, for a picture of the cells in colours with `_preview` at the end of its name;
            none: no such picture.

    Raises:
        OSError: of the writing.
        DataError: likewise.
    """
    numbered = [number_cells(prediction, classes, holes, smallest, split) for prediction, _ in pages]
    names = [spec.name for spec in specs]
    tables = [
        measure_cells(ids, owners, found, names) for (ids, owners), (_, found) in zip(numbered, pages, strict=True)
    ]
    for number, table in enumerate(tables):
        table.insert(0, "page", number)
    few = max(len(table) for table in tables) <= np.iinfo(np.uint16).max
    pictures = [ids.astype(np.uint16 if few else np.uint32) for ids, _ in numbered]
    stem, suffix = stem_of(target), choose_suffix(image, pictures, suffix_of(target), slice_axis)
    write_pages(target.with_name(stem + suffix), pictures, image, slice_axis)
    if scenes:
        colored = [color_cells(ids, page.pixels, page.valid) for (ids, _), page in zip(numbered, scenes, strict=True)]
        write_pages(target.with_name(f"{stem}_preview{'.png' if len(scenes) == 1 else '.tif'}"), colored)
    with write_whole(target.with_name(f"{stem}.csv")) as side:
        pd.concat(tables).round({"row": 3, "column": 3, "probability": 6}).to_csv(side, index=False)
