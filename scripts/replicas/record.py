"""What is known of a public data set: where it is, how its files lie, and the words that train on them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from unet_exp.typed import write_value


@dataclass(frozen=True)
class DataSet:
    """A public data set, or what a labelling tool exports.

    Attributes:
        name: of its replica, on the command line.
        title: for people.
        address: where it is downloaded.
        terms: under which it may be used, as far as known.
        citation: of its paper.
        sources: addresses that say how its files lie.
        layout: its files below `data.root`, one a line.
        words: overrides that train on them, without `data.root`.
        write: writes a replica into a folder.
        oddities: what is unusual, and what becomes of it.
        recipe: the word before the others.
    """

    name: str
    title: str
    address: str
    terms: str
    citation: str
    sources: tuple[str, ...]
    layout: str
    words: tuple[str, ...]
    write: Callable[[Path], None]
    oddities: tuple[str, ...] = ()
    recipe: str = "experiment=own"


def word(key: str, value: str | int) -> str:
    """An override, with the quotes that Hydra needs: `data.images="{train,val}/*.png"`."""
    return f"{key}={write_value(value)}"


def several(key: str, *values: str) -> str:
    """An override with a list: the channels of each image from several files."""
    return f"{key}=[{','.join(map(write_value, values))}]"


def by_label(key: str, **values: str) -> str:
    """An override with a mapping: one file a class. An `_` in a label stands for a space."""
    inside = ", ".join(f"{label.replace('_', ' ')}: {write_value(value)}" for label, value in values.items())
    return f"{key}={{{inside}}}"


def classes(values: Mapping[str, object], also: Mapping[str, object] | None = None) -> str:
    """The override `data.classes` from names and values, and further values of some."""
    also = also or {}
    entries = (
        f"{{name: {name}, value: {value}" + (f", also: {also[name]}" if name in also else "") + "}"
        for name, value in values.items()
    )
    return f"data.classes=[{', '.join(entries)}]"


def label_classes(*names: str) -> str:
    """The override `data.classes` where labels of annotations are the names of classes."""
    return classes({"background": 0, **{name: name for name in names}})
