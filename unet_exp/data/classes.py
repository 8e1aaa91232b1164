"""Class colours: where a pixel of a label file becomes a class, and a class a pixel again."""

import colorsys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unet_exp.config import IGNORE_LABEL, ClassSpec
from unet_exp.errors import DataError

Array = np.ndarray[Any, Any]
Value = int | tuple[int, ...]

IGNORE_COLOR = (128, 128, 128)
"""RGB of ignored pixels in previews."""
MAX_CLASSES = 254

_SHOWN = 8
_FILES_SHOWN = 3


class UnknownValues(DataError):
    """Pixels of one or more label files that belong to no class.

    Attributes:
        counts: pixels of each value or (red, green, blue).
        paths: the files that hold them.
        known: the values that have a class, as the message says them.
    """

    def __init__(self, counts: "Counter[Value]", paths: Sequence[str], known: str) -> None:
        self.counts, self.paths, self.known = counts, paths, known
        shown = ", ".join(f"{_word(value)} x {count}" for value, count in counts.most_common(_SHOWN))
        more = f" and {len(counts) - _SHOWN} more" if len(counts) > _SHOWN else ""
        files = ", ".join(paths[:_FILES_SHOWN])
        if len(paths) > _FILES_SHOWN:
            files = f"{files} and {len(paths) - _FILES_SHOWN} more files"
        jpeg = any(path.lower().endswith((".jpg", ".jpeg")) for path in paths)
        mend = "JPEG changes pixels: save labels as PNG" if jpeg else "mend the file" + "s" * (len(paths) > 1)
        super().__init__(
            f"{files}: {counts.total()} pixels belong to no class: {shown}{more} (value x pixels); "
            f"known are {known}; {mend}, or give these values a class"
        )

    @classmethod
    def merged(cls, errors: Sequence["UnknownValues"]) -> "UnknownValues":
        """One error for a whole data set of the errors of its files, all with the same classes."""
        counts: Counter[Value] = sum((error.counts for error in errors), Counter())
        return cls(counts, [path for error in errors for path in error.paths], errors[0].known)


def decode(
    pixels: Array,
    classes: Sequence[ClassSpec],
    path: str | Path,
    ignore_value: int | Sequence[int] | None = None,
) -> Array:
    """Class indices of a label file.

    Args:
        pixels: (H, W, C) as `unet_exp.data.images` reads them, C 1, 3 or 4 (wholly opaque).
        classes: the class i is at index i; values either all grey or all RGB. Three equal channels count as
            grey, and grey pixels as the colour of three equal channels.
        path: where the pixels come from, for the error.
        ignore_value: grey value or RGB colour of pixels that become `IGNORE_LABEL`; a grey value means its
            RGB grey in a colour file.

    Returns:
        (H, W) uint8, the index of each pixel's class or `IGNORE_LABEL`.

    Raises:
        UnknownValues: for pixels that no class names (which, how often, and what is known).
        DataError: for transparent pixels, and colours where grey values are expected.
    """
    colored = _colored(classes)
    codes = _codes(pixels, colored, path)
    # 0 is unknown, class i is i + 1. Zeros that nobody touches cost nothing.
    table = np.zeros(2**24 if colored else 2**16, np.uint8)
    for index, spec in enumerate(classes):
        table[_code(spec.value, colored)] = index + 1
    if ignore_value is not None:
        table[_code(ignore_value, colored)] = IGNORE_LABEL
    found = table[codes]
    if not found.all():
        raise _unknown(codes[found == 0], classes, path, ignore_value, colored)
    return np.where(found == IGNORE_LABEL, np.uint8(IGNORE_LABEL), found - np.uint8(1))


def encode(label: Array, classes: Sequence[ClassSpec], ignore_value: int | Sequence[int] | None = None) -> Array:
    """A mask as the label files were: the inverse of `decode`.

    Args:
        label: (H, W) uint8 class indices; `IGNORE_LABEL` only with an `ignore_value`.
        classes: as in `decode`.
        ignore_value: as in `decode`.

    Returns:
        (H, W, 1) uint8 grey values, or (H, W, 3) uint8 RGB where the classes have colours.

    Raises:
        ValueError: for an index without a class.
    """
    values = [spec.value for spec in classes]
    return _paint(label, values, ignore_value, 3 if _colored(classes) else 1)


def colorize(label: Array, classes: Sequence[ClassSpec]) -> Array:
    """A preview: (H, W) uint8 class indices as (H, W, 3) uint8 RGB, ignored pixels grey.

    Raises:
        ValueError: for an index without a class.
    """
    return _paint(label, [spec.color for spec in classes], IGNORE_COLOR, 3)


def object_ids(pixels: Array, path: str | Path, ignore_value: int | Sequence[int] | None = None) -> tuple[Array, Array]:
    """The objects of a label file in which each has a number or a colour of its own, and 0 or black is none.

    Args:
        pixels: as in `decode`.
        path: as in `decode`.
        ignore_value: number or colour of pixels that are ignored.

    Returns:
        (H, W) int32 numbers from 1, 0 where there is no object, and (H, W) bool, where it is ignored.

    Raises:
        DataError: for transparent, fractional or negative pixels.
    """
    colored = pixels.shape[2] >= 3 and bool((pixels[:, :, :3] != pixels[:, :, :1]).any())
    codes = _codes(pixels, colored, path).astype(np.int32)
    wanted = None if ignore_value is None else _code(ignore_value, colored or not isinstance(ignore_value, int))
    ignored = codes == wanted if wanted is not None else np.zeros(codes.shape, bool)
    codes[ignored] = 0
    if colored:  # A colour of 24 bits would make tables of 16 million objects.
        codes = np.unique(np.append(codes, 0), return_inverse=True)[1][:-1].reshape(codes.shape).astype(np.int32)
    return codes, ignored


def picture_color(index: int) -> list[int]:
    """A colour for pictures where a class has none: dark for class 0, then far apart in hue (golden-section steps)."""
    if index == 0:
        return [38, 50, 110]
    red, green, blue = colorsys.hsv_to_rgb((0.12 + 0.618034 * (index - 1)) % 1, 0.6, 0.95 if index % 2 else 0.75)
    return [round(255 * part) for part in (red, green, blue)]


def _paint(
    label: Array,
    values: Sequence[int | Sequence[int]],
    ignore_value: int | Sequence[int] | None,
    channels: int,
) -> Array:
    table = np.zeros((256, channels), np.uint8)
    known = np.zeros(256, bool)
    for index, value in [
        *enumerate(values),
        *([(IGNORE_LABEL, ignore_value)] if ignore_value is not None else []),
    ]:
        table[index] = value
        known[index] = True
    if label.dtype != np.uint8 or not known[label].all():
        raise ValueError(f"labels must be uint8 indices below {len(values)}, got {label.dtype} up to {label.max()}")
    return table[label]


def _colored(classes: Sequence[ClassSpec]) -> bool:
    """Whether the classes' values are RGB."""
    kinds = {not isinstance(spec.value, int) for spec in classes}
    if len(kinds) != 1 or len(classes) > MAX_CLASSES:
        raise ValueError(f"needs 1 to {MAX_CLASSES} classes, their values all grey or all RGB")
    return kinds.pop()


def _code(value: int | Sequence[int], colored: bool) -> int:
    """A grey value, or a colour packed into 24 bits."""
    if not colored:
        if not isinstance(value, int):
            raise ValueError(f"the classes have grey values, so {list(value)} must be one too")
        return value
    red, green, blue = (value,) * 3 if isinstance(value, int) else value
    return red << 16 | green << 8 | blue


def _codes(pixels: Array, colored: bool, path: str | Path) -> Array:
    """(H, W) whole numbers, one for each value or colour."""
    if pixels.shape[2] not in (1, 3, 4):
        raise DataError(f"{path}: a label file with {pixels.shape[2]} channels; save it as grey or RGB")
    if pixels.shape[2] == 4:
        opaque = 1 if pixels.dtype.kind == "f" else np.iinfo(pixels.dtype).max
        if (pixels[:, :, 3] != opaque).any():
            raise DataError(f"{path}: a label file with transparent pixels; save it as grey or RGB without alpha")
        pixels = pixels[:, :, :3]
    if pixels.dtype.kind == "f":
        whole = np.clip(pixels, 0, 65535).astype(np.uint16)
        if (whole != pixels).any():
            raise DataError(f"{path}: a label file with fractional or negative pixels; save it as uint8 or uint16")
        pixels = whole
    if not colored:
        if pixels.shape[2] == 3 and (pixels != pixels[:, :, :1]).any():
            raise DataError(
                f"{path}: a colour file, but the classes have grey values; save grey labels, "
                "or give each class its RGB colour"
            )
        return pixels[:, :, 0]
    if pixels.max(initial=0) > 255:
        raise DataError(f"{path}: a label file with 16-bit colours; save it with 8 bits a channel")
    # Copies to uint32 so that the shifts do not overflow; a grey file has the same plane three times.
    red, green, blue = (pixels[:, :, min(channel, pixels.shape[2] - 1)].astype(np.uint32) for channel in range(3))
    return red << 16 | green << 8 | blue


def _word(value: int | Sequence[int]) -> str:
    return str(value) if isinstance(value, int) else "({}, {}, {})".format(*value)


def _unknown(
    codes: Array,
    classes: Sequence[ClassSpec],
    path: str | Path,
    ignore_value: int | Sequence[int] | None,
    colored: bool,
) -> UnknownValues:
    values, counts = (array.tolist() for array in np.unique(codes, return_counts=True))
    words = [(code >> 16, code >> 8 & 255, code & 255) if colored else code for code in values]
    known = [f"{_word(spec.value)} {spec.name}" for spec in classes]
    if ignore_value is not None:
        known.append(f"{_word(ignore_value)} ignored")
    return UnknownValues(Counter(dict(zip(words, counts, strict=True))), [str(path)], ", ".join(known))
