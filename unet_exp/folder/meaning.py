"""What the values of masks seem to mean, by how many pixels have them: a training's error and `check_data` tell it."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from unet_exp.config import ClassSpec
from unet_exp.config.user_data import MAX_CLASSES
from unet_exp.samples.classes import Value, Values, list_few, name_values, stored_value
from unet_exp.typed import dump_in_one_line

_RARE = 0.001
_STRAY_PIXELS, _STRAY_SHARE = 16, 1e-5
_SMALL = 64
_MOST_FILES = 3


@dataclass(frozen=True)
class Meaning:
    """What the values of masks seem to mean.

    Attributes:
        classes: values that many pixels have.
        ignored: the values of ignored pixels, as configured if masks have one of them; else 255 beside small indices;
            else the only negative value; else the only stray one.
        strays: the pixels of values that hardly any pixel has, by value and file.
        known: the configured classes, one of them with both 1 and 255 where masks hold either beside 0.
    """

    classes: frozenset[Value]
    ignored: tuple[Value, ...] = ()
    strays: dict[Value, Counter[str]] = field(default_factory=dict)
    known: tuple[ClassSpec, ...] = ()

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
    ignored: Values,
) -> Meaning:
    """Finds what the values of masks seem to mean.

    Args:
        masks: the file of each mask, and its pixels by `stored_value`.
        classes: as configured.
        ignored: as configured.
    """
    pixels = _add_up(masks)
    kept = tuple(map(stored_value, ignored))
    kept = kept if any(value in pixels for value in kept) else ()
    known = {*kept, *(stored_value(value) for spec in classes for value in spec.values)}
    strays = {value for value, count in pixels.items() if value not in known and _is_stray(count, pixels.total())}
    common = pixels.keys() - strays - {*kept}
    if len(common) < 2:
        common, strays = common | strays, set()
    apart = not any(255 in counts and any(value not in (0, 255) for value in counts) for _, counts in masks)
    if not kept and not apart and _means_void(pixels, common - {255}):
        kept = (255,)
    elif not kept and len(negative := {value for value in pixels if isinstance(value, int) and value < 0}) == 1:
        kept = tuple(negative)
    elif not kept and len(strays) == 1:
        kept = tuple(strays)
    found = {
        value: Counter({file: counts[value] for file, counts in masks if value in counts})
        for value in sorted(strays, key=lambda value: (-pixels[value], str(value)))
        if value != 255 or 255 not in kept
    }
    specs = _join_lit(classes) if apart and common == {0, 1, 255} else classes
    return Meaning(frozenset(common - {*kept}), kept, found, tuple(specs))


def find_distance(one: Value, other: Value) -> int:
    """The largest difference of two values in a channel."""
    left, right = ((value,) * 3 if isinstance(value, int) else value for value in (one, other))
    return max(abs(mine - yours) for mine, yours in zip(left, right, strict=True))


def to_ignore(ignored: Sequence[Value], colored: bool) -> int | list[Any] | None:
    """Ignored values as `data.ignore`; `colored`: whether classes have colours."""
    plain = [value if isinstance(value, int) else list(value) for value in ignored]
    if len(plain) < 2:
        return plain[0] if plain else None
    if colored:  # three numbers would be a colour
        return [[value] * 3 if isinstance(value, int) else value for value in plain]
    return plain


def to_words(entries: Sequence[Mapping[str, Any]], ignore: int | list[Any] | None) -> list[str]:
    """Classes, a name and a value each, and ignored values, as words on a command line; none for what is missing."""
    words = [f"data.classes={dump_in_one_line([dict(entry) for entry in entries])}"] if entries else []
    return words if ignore is None else [*words, f"data.ignore={ignore}"]


def name_new(
    values: Collection[Value], known: Sequence[ClassSpec], configured: Sequence[ClassSpec]
) -> list[dict[str, Any]]:
    """Makes `data.classes` of values, with the names of known ones; empty if these are the configured classes."""
    entries = name_values(values, known)
    before = [stored_value(value) for spec in configured for value in spec.values]
    return [] if entries == name_values(before, configured) else entries


def _join_lit(classes: Sequence[ClassSpec]) -> Sequence[ClassSpec]:
    """The classes, that of 1 or of 255 with the other value too, unless both are configured."""
    for value, other in ((1, 255), (255, 1)):
        if not any(other in spec.values for spec in classes):
            classes = [
                spec.model_copy(update={"also": [*spec.also, other]}) if value in spec.values else spec
                for spec in classes
            ]
            break
    return classes


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
