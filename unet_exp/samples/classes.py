"""Class values: from the pixels of a label file to class indices, and back."""

import colorsys
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unet_exp.config import IGNORE_LABEL, ClassSpec
from unet_exp.config.user_data import MAX_CLASSES
from unet_exp.errors import DataError
from unet_exp.io.arrays import Array
from unet_exp.io.kinds import is_jpeg

Value = int | tuple[int, ...]
"""A grey value, or (red, green, blue)."""
Values = Sequence[int | Sequence[int]]
"""Likewise, as in a config."""

IGNORE_COLOR = (128, 128, 128)
"""RGB of ignored pixels in previews."""

_MOST_OBJECTS = 65535
_MOST_VALUES = 8
_MOST_KNOWN = 12
_MOST_FILES = 3


class UnknownValues(DataError):
    """Pixels of one or more label files that belong to no class.

    Attributes:
        counts: pixels of each value or (red, green, blue).
        paths: their files.
        known: the name of the class of each known value.
        seen: pixels of the known values in these files.
        what: the message without a remedy.
    """

    def __init__(
        self, counts: "Counter[Value]", paths: Sequence[str], known: Mapping[Value, str], seen: Counter[Value]
    ) -> None:
        self.counts, self.paths, self.known, self.seen = counts, paths, known, seen
        values = list_few([f"{_format_value(value)} x {count}" for value, count in counts.most_common()], _MOST_VALUES)
        classes = list_few([f"{_format_value(value)} {name}" for value, name in known.items()], _MOST_KNOWN)
        if any(isinstance(value, tuple) for value in counts) and not any(isinstance(value, tuple) for value in known):
            classes += ", and this is a colour file" if len(paths) == 1 else ", and these are colour files"
        self.what = (
            f"{list_few(paths, _MOST_FILES, ' files')}: {counts.total()} pixels belong to no class: {values} "
            f"(value x pixels); known are {classes}"
        )
        remedy = "JPEG changes pixels: save labels as PNG" if self.jpeg else "correct the file" + "s" * (len(paths) > 1)
        super().__init__(f"{self.what}; {remedy}, or give these values a class")

    @property
    def jpeg(self) -> bool:
        """Whether a JPEG is among the files."""
        return any(map(is_jpeg, self.paths))

    @classmethod
    def merge(cls, errors: Sequence["UnknownValues"]) -> "UnknownValues":
        """Joins the errors of several files with the same classes into one."""
        counts: Counter[Value] = sum((error.counts for error in errors), Counter())
        seen: Counter[Value] = sum((error.seen for error in errors), Counter())
        return cls(counts, [path for error in errors for path in error.paths], errors[0].known, seen)


def decode(
    pixels: Array,
    classes: Sequence[ClassSpec],
    path: str | Path,
    ignored: Values = (),
    valid: Array | None = None,
) -> Array:
    """Reads the class indices of a label file.

    Args:
        pixels: (H, W, C) as `unet_exp.io.images.read_labels` gives them, C 1, 3 or 4 (opaque).
        classes: class i at index i, of all its values; values either all grey or all RGB. Three equal channels count
            as grey, and grey pixels as the colour of three equal channels.
        path: of the file, for the error.
        ignored: grey values, which may be any whole numbers, or RGB colours of pixels that become `IGNORE_LABEL`; of
            classes with colours a grey value means its RGB grey.
        valid: (H, W), False where pixels become `IGNORE_LABEL` whatever they hold; None for all.

    Returns:
        (H, W) uint8, the index of each pixel's class or `IGNORE_LABEL`.

    Raises:
        UnknownValues: for pixels without a class; all pixels of a colour file where the classes have grey values.
        DataError: for transparent or fractional pixels, and colours of 16 bits.
    """
    colored = has_colors(classes)
    in_color = colored or shows_colors(pixels, valid)
    codes = read_codes(pixels, in_color, path, valid)
    # 0 is unknown, class i is i + 1. Zeros that are not read cost no memory.
    table = np.zeros(2**24 if in_color else 2**16, np.uint8)
    ignored_codes = [_code(value, colored) for value in ignored]
    if colored == in_color:
        for index, spec in enumerate(classes):
            table[[_code(value, colored) for value in spec.values]] = index + 1
        table[[code for code in ignored_codes if 0 <= code < table.size]] = IGNORE_LABEL
    found = table[np.clip(codes, 0, table.size - 1)]
    if codes.dtype.kind == "i":  # what does not fit into the table
        outside = (codes < 0) | (codes >= table.size)
        found[outside] = np.where(np.isin(codes[outside], ignored_codes), IGNORE_LABEL, 0)
    if valid is not None:
        found[~valid] = IGNORE_LABEL
    if not found.all():
        counts, seen = (_count_values(codes[of], in_color) for of in (found == 0, found > 0))
        raise UnknownValues(counts, [str(path)], name_known(classes, ignored), seen)
    return np.where(found == IGNORE_LABEL, np.uint8(IGNORE_LABEL), found - np.uint8(1))


def encode(label: Array, classes: Sequence[ClassSpec], ignore_value: int | Sequence[int] | None = None) -> Array:
    """Turns class indices into the values of label files: the inverse of `decode`.

    Args:
        label: (H, W) uint8 class indices; `IGNORE_LABEL` only with an `ignore_value`.
        classes: as in `decode`.
        ignore_value: grey value or RGB colour of ignored pixels.

    Returns:
        (H, W, 1) grey values, the first of each class, uint8 or, above 255, uint16; or (H, W, 3) uint8 RGB for classes
        with colours.

    Raises:
        ValueError: for an index without a class.
    """
    values = [spec.value for spec in classes]
    return _look_up(label, values, ignore_value, 3 if has_colors(classes) else 1)


def choose_fill(classes: Sequence[ClassSpec], ignored: Values) -> Value:
    """The value of pixels without data in predicted masks: an ignored one, or another that no class has.

    Args:
        classes: as in `decode`.
        ignored: of the training masks; the first that a mask can hold is taken.
    """
    colored, taken = has_colors(classes), {_as_key(value) for spec in classes for value in spec.values}
    greys = (*range(255, -1, -1), *range(256, 65536))
    spare: list[Value] = [IGNORE_COLOR, *((grey,) * 3 for grey in range(256))] if colored else [*greys]
    wanted: list[Value] = []
    for value in ignored:
        if isinstance(value, int) and 0 <= value <= (255 if colored else 65535):
            wanted.append((value,) * 3 if colored else value)
        elif not isinstance(value, int) and colored:
            wanted.append(_as_key(value))
    return next(value for value in [*wanted, *spare] if value not in taken)


def colorize(label: Array, classes: Sequence[ClassSpec]) -> Array:
    """Paints (H, W) uint8 class indices as (H, W, 3) uint8 RGB, ignored pixels grey.

    Raises:
        ValueError: for an index without a class.
    """
    return _look_up(label, [spec.color for spec in classes], IGNORE_COLOR, 3)


def object_ids(
    pixels: Array, path: str | Path, ignored: Values = (), valid: Array | None = None
) -> tuple[Array, Array]:
    """Numbers the objects of a label file in which each has a value or colour of its own, and 0 or black is none.

    Args:
        pixels: as in `decode`.
        path: as in `decode`.
        ignored: numbers and colours of ignored pixels.
        valid: (H, W), False where pixels are ignored whatever they hold; None for all.

    Returns:
        (H, W) int32 numbers from 1, 0 where there is no object, and (H, W) bool, True where ignored. Numbers are those
        of the file if they fit into 16 bits; larger ones, and colours, become 1, 2 ... in their order.

    Raises:
        DataError: for transparent, fractional or negative pixels.
    """
    colored = shows_colors(pixels, valid)
    codes = read_codes(pixels, colored, path, valid).astype(np.int64)
    if not colored:  # A page of greys alone.
        ignored = [stored_value(value) for value in ignored]
        ignored = [value for value in ignored if isinstance(value, int)]
    void = np.isin(codes, [_code(value, colored) for value in ignored])
    if valid is not None:
        void |= ~valid
    codes[void] = 0
    if codes.min(initial=0) < 0:
        raise DataError(
            f"{path}: {(codes < 0).sum()} pixels hold negative numbers, {codes.min()} the least, and 0 is no object: "
            "if they mean that nothing is known, set data.ignore to it, else save the file with 0 there"
        )
    if colored or codes.max(initial=0) > _MOST_OBJECTS:  # They would make tables of millions of objects.
        codes = np.unique(np.append(codes, 0), return_inverse=True)[1][:-1].reshape(codes.shape)
    return codes.astype(np.int32), void


def shows_colors(pixels: Array, valid: Array | None = None) -> bool:
    """Whether (H, W, C) pixels, C 3 or 4, are more than greys, where they are valid (H, W)."""
    if pixels.shape[2] not in (3, 4):
        return False
    if valid is not None:
        pixels = pixels[valid][:, None]
    # Few rows of a photograph tell; only of greys all must be looked at.
    return any(bool((rows[:, :, :3] != rows[:, :, :1]).any()) for rows in (pixels[::64], pixels))


def name_values(values: Collection[Value], classes: Sequence[ClassSpec]) -> list[dict[str, Any]]:
    """Makes `data.classes`, a `name` and a `value` each, of all values in masks.

    Configured values keep their names, and those that are of one class stay together, with `also`.
    """
    colored = any(isinstance(value, tuple) for value in values)
    found: set[Value] = {(value,) * 3 if colored and isinstance(value, int) else value for value in values}
    firsts = {_as_key(value): _as_key(spec.value) for spec in classes for value in spec.values}
    found = {firsts.get(value, value) for value in found}
    known = {_as_key(spec.value): spec for spec in classes if _as_key(spec.value) in found}
    names = {value: spec.name for value, spec in known.items()}
    taken = set(names.values())
    entries = []
    for index, value in enumerate(sorted(found, key=lambda value: value if isinstance(value, tuple) else (value,))):
        if value not in names:
            first = ("background", "foreground")[index] if len(found) == 2 else f"class_{index}"
            spare = (f"class_{number}" for number in (index, *range(len(found), 2 * len(found))))
            names[value] = next(name for name in (first, *spare) if name not in taken)
            taken.add(names[value])
        also = {"also": known[value].also} if value in known and known[value].also else {}
        entries.append({"name": names[value], "value": value if isinstance(value, int) else list(value), **also})
    return entries


def picture_color(index: int) -> list[int]:
    """The default colour of a class in pictures: dark for class 0, then far apart in hue (golden-section steps)."""
    if index == 0:
        return [38, 50, 110]
    red, green, blue = colorsys.hsv_to_rgb((0.12 + 0.618034 * (index - 1)) % 1, 0.6, 0.95 if index % 2 else 0.75)
    return [round(255 * part) for part in (red, green, blue)]


def _look_up(
    label: Array, values: Sequence[int | Sequence[int]], ignore_value: int | Sequence[int] | None, channels: int
) -> Array:
    wide = any(isinstance(value, int) and value > 255 for value in [*values, ignore_value])
    table, known = np.zeros((256, channels), np.uint16 if wide else np.uint8), np.zeros(256, bool)
    for index, value in [*enumerate(values), (IGNORE_LABEL, ignore_value)]:
        if value is not None:
            table[index], known[index] = value, True
    if label.dtype != np.uint8 or not known[label].all():
        raise ValueError(f"labels must be uint8 indices below {len(values)}, got {label.dtype} up to {label.max()}")
    return table[label]


def has_colors(classes: Sequence[ClassSpec]) -> bool:
    """Whether the classes' values are RGB; not, if they are grey."""
    kinds = {not isinstance(value, int) for spec in classes for value in spec.values}
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


def read_codes(pixels: Array, colored: bool, path: str | Path, valid: Array | None = None) -> Array:
    """(H, W) whole numbers, one for each grey value or, if `colored`, each colour, of the pixels of a label file.

    Where they are not valid (H, W), nothing is checked.

    Raises:
        DataError: for transparent or fractional pixels, and colours of 16 bits.
    """
    pixels = drop_alpha(pixels, path, valid)
    if pixels.dtype.kind == "f":
        whole = pixels.astype(np.int64)
        if (whole != pixels).any():
            raise DataError(
                f"{path}: a label file with fractional pixels; save it with whole numbers, such as uint16, or, of "
                "classes, type data.inexact=nearest (values are compared as they are stored)"
            )
        pixels = whole
    if not colored:
        return pixels[:, :, 0]
    if (pixels if valid is None else pixels[valid]).max(initial=0) > 255:
        raise DataError(f"{path}: a label file with 16-bit colours; save it with 8 bits a channel")
    # Copies to uint32 so that the shifts do not overflow; a grey file has the same plane three times.
    red, green, blue = (pixels[:, :, min(channel, pixels.shape[2] - 1)].astype(np.uint32) for channel in range(3))
    return red << 16 | green << 8 | blue


def drop_alpha(pixels: Array, path: str | Path, valid: Array | None = None) -> Array:
    """The pixels of a label file (H, W, C), C 1, 3 or 4, without an alpha, which is opaque where they are valid (H, W).

    Raises:
        DataError: for transparent pixels, and another number of channels.
    """
    if pixels.shape[2] not in (1, 3, 4):
        slices = ", or, if it is an array of slices, type data.axes=zyx" * (pixels.shape[2] > 4)
        raise DataError(f"{path}: a label file with {pixels.shape[2]} channels; save it as grey or RGB{slices}")
    if pixels.shape[2] != 4:
        return pixels
    opaque = 1 if pixels.dtype.kind == "f" else np.iinfo(pixels.dtype).max
    alpha = pixels[:, :, 3] if valid is None else pixels[:, :, 3][valid]
    if (alpha != opaque).any():
        raise DataError(f"{path}: a label file with transparent pixels; save it as grey or RGB without alpha")
    return pixels[:, :, :3]


def _as_key(value: int | Sequence[int]) -> Value:
    return value if isinstance(value, int) else tuple(value)


def name_known(classes: Sequence[ClassSpec], ignored: Values) -> dict[Value, str]:
    """The name of the class of each value, and of ignored ones."""
    known = {_as_key(value): spec.name for spec in classes for value in spec.values}
    return known | {_as_key(value): "ignored" for value in ignored}


def stored_value(value: int | Sequence[int]) -> Value:
    """Turns a value of a class or a pixel into the key by which pixels are counted: equal channels are a grey."""
    if isinstance(value, int):
        return value
    return value[0] if len(set(value)) == 1 else tuple(value)


def _format_value(value: int | Sequence[int]) -> str:
    return str(value) if isinstance(value, int) else "({}, {}, {})".format(*value)


def list_few(words: Sequence[str], shown: int, noun: str = "") -> str:
    """The first words, and how many more there are."""
    more = f" and {len(words) - shown} more{noun}" if len(words) > shown else ""
    return ", ".join(words[:shown]) + more


def _count_values(codes: Array, colored: bool) -> Counter[Value]:
    """Counts the pixels of each value in whole numbers of `_codes`."""
    values, counts = (found.tolist() for found in np.unique(codes, return_counts=True))
    keys = [(code >> 16, code >> 8 & 255, code & 255) if colored else code for code in values]
    return Counter(dict(zip(keys, counts, strict=True)))
