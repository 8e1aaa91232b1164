"""What the values of masks seem to mean, by how many pixels have them: a training's error and `check_data` tell it."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from unet_exp.config import ClassSpec
from unet_exp.config.user_data import MAX_CLASSES
from unet_exp.samples.classes import Value, dump_in_one_line, list_few, name_values

_RARE = 0.001
_STRAY_PIXELS, _STRAY_SHARE = 16, 1e-5
_SMALL = 64
_MOST_FILES = 3


@dataclass(frozen=True)
class Meaning:
    """What the values of masks seem to mean.

    Attributes:
        classes: values that many pixels have.
        ignore: the value of ignored pixels, as configured if masks have it; else 255 beside small indices; else the
            only negative value; else the only stray one.
        strays: the pixels of values that hardly any pixel has, by value and file.
    """

    classes: frozenset[Value]
    ignore: Value | None = None
    strays: dict[Value, Counter[str]] = field(default_factory=dict)

    @property
    def fits(self) -> bool:
        """Whether the values can be those of classes: some, and none that is negative or has more than 16 bits."""
        few = 2 <= len(self.classes) <= MAX_CLASSES
        return few and all(isinstance(value, tuple) or 0 <= value <= 65535 for value in self.classes)

    @property
    def is_index(self) -> bool:
        """Whether the classes are small numbers, as where a mask holds indices: neighbours are then no shades."""
        return _are_small(self.classes)

    @property
    def is_blurred(self) -> bool:
        """Whether there are nearly white values beside white, as JPEG and smooth resizing leave them."""
        return 255 in self.classes and not self.classes.isdisjoint(range(248, 255))

    def list_strays(self) -> list[str]:
        """A line for each stray value: its pixels and their files."""
        lines = []
        for value, files in self.strays.items():
            count = files.total()
            names = list_few([name for name, _ in files.most_common()], _MOST_FILES, " files")
            lines.append(f"{value}: {count} pixel{'s' * (count != 1)} in {names}")
        return lines


def find_meaning(
    masks: Sequence[tuple[str, Mapping[Value, int]]],
    classes: Sequence[ClassSpec],
    ignore: int | Sequence[int] | None,
) -> Meaning:
    """Finds what the values of masks seem to mean.

    Args:
        masks: the file of each mask, and its pixels by `stored_value`.
        classes: as configured.
        ignore: as configured.
    """
    pixels = _add_up(masks)
    kept = None if ignore is None or stored_value(ignore) not in pixels else stored_value(ignore)
    known = {kept, *(stored_value(spec.value) for spec in classes)}
    strays = {value for value, count in pixels.items() if value not in known and _is_stray(count, pixels.total())}
    common = pixels.keys() - strays - {kept}
    if len(common) < 2:
        common, strays = common | strays, set()
    if kept is None and _means_void(pixels, common - {255}):
        kept = 255
    elif kept is None and len(negative := {value for value in pixels if isinstance(value, int) and value < 0}) == 1:
        (kept,) = negative
    elif kept is None and len(strays) == 1:
        (kept,) = strays
    found = {
        value: Counter({file: counts[value] for file, counts in masks if value in counts})
        for value in sorted(strays, key=lambda value: (-pixels[value], str(value)))
        if value != 255 or kept != 255
    }
    return Meaning(frozenset(common - {kept}), kept, found)


def find_distance(one: Value, other: Value) -> int:
    """The largest difference of two values in a channel."""
    left, right = ((value,) * 3 if isinstance(value, int) else value for value in (one, other))
    return max(abs(mine - yours) for mine, yours in zip(left, right, strict=True))


def stored_value(value: int | Sequence[int]) -> Value:
    """Turns a value of a class or a pixel into the key by which pixels are counted: equal channels are a grey."""
    if isinstance(value, int):
        return value
    return value[0] if len(set(value)) == 1 else tuple(value)


def plain_value(value: Value | None) -> int | list[int] | None:
    """A value as in a config."""
    return value if value is None or isinstance(value, int) else list(value)


def to_words(entries: Sequence[Mapping[str, Any]], ignore: int | list[int] | None) -> list[str]:
    """Classes, a name and a value each, and an ignored value, as words on a command line; none for what is missing."""
    words = [f"data.classes={dump_in_one_line([dict(entry) for entry in entries])}"] if entries else []
    return words if ignore is None else [*words, f"data.ignore={ignore}"]


def name_new(values: Collection[Value], classes: Sequence[ClassSpec]) -> list[dict[str, Any]]:
    """Makes `data.classes` of values, with the names of configured ones; empty if these are the configured classes."""
    entries = name_values(values, classes)
    return [] if entries == name_values([stored_value(spec.value) for spec in classes], classes) else entries


def _add_up(masks: Sequence[tuple[str, Mapping[Value, int]]]) -> Counter[Value]:
    pixels: Counter[Value] = Counter()
    for _, counts in masks:
        pixels.update(counts)
    return pixels


def _is_stray(count: int, whole: int) -> bool:
    """Whether so few pixels have a value that no class is meant: a handful of all, or hardly any of very many."""
    return count < _RARE * whole and (count <= _STRAY_PIXELS or count < _STRAY_SHARE * whole)


def _are_small(values: Collection[Value]) -> bool:
    return all(isinstance(value, int) and value < _SMALL for value in values)


def _means_void(pixels: Counter[Value], others: Collection[Value]) -> bool:
    """Whether 255 means "unknown": others count up from 0; or they are small, and more pixels have one but 0."""
    if 255 not in pixels or not 2 <= len(others) < 255:
        return False
    objects = sum(pixels[value] for value in others if value != 0)
    return set(others) == set(range(len(others))) or (_are_small(others) and pixels[255] < objects)
