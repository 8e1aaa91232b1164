"""Finds the partner of each image by its name or, where no name fits at all, by what the names have in common."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from unet_exp.folder.named_files import NamedFiles
from unet_exp.io.texts import Places, TextIndex, Texts

_RUN = re.compile(r"\d+|[^\W\d_]+|[\W_]+")
_WILDCARDS = re.compile(r"[*?\[{]")


class Side(NamedTuple):
    """Images, or their partners.

    Attributes:
        files: all that were named.
        numbers: (M,) of those that count, in `files.names`.
        names: (M,) by which they are matched.
    """

    files: NamedFiles
    numbers: Places
    names: Texts

    def path(self, place: int) -> Path:
        """The file at a place of `numbers`."""
        return self.files.path(int(self.numbers[place]))


class Matches(NamedTuple):
    """The partners of images.

    Attributes:
        places: (N,) of each image's partner, -1 for none.
        told: what the user is told where names alone do not say it; empty for nothing.
    """

    places: Places
    told: str = ""


def match_names(images: Side, others: Side, guess: bool = True) -> Matches:
    """Matches images with their partners: of the same name, or any if there is one file of each.

    Where no image has a partner of its name, these are tried, and told:

    - folders that are partners, and have the names of the folders of one image each;
    - the common part: names are runs of digits, of letters and of other characters. The runs at the start and at the
      end that all images have are left out, and likewise of their partners. If each partner's rest is the rest of one
      image, and no two images and no two partners have the same one, these belong together. The digits that are left
      out may not contradict each other, and there must be two images and two partners at least.

    Args:
        images: in their order.
        others: among which the partners are.
        guess: whether these two are tried.
    """
    if images.files.is_single and others.files.is_single and len(images.numbers) and len(others.numbers):
        return Matches(np.zeros(1, np.int64))
    places = TextIndex(others.names).find(images.names)
    if not guess or (places >= 0).any():
        return Matches(places)
    if others.files.files.source.folders:
        return _match_folders(images, others) or Matches(places)
    return _match_rests(images, others) or Matches(places)


def _match_folders(images: Side, others: Side) -> Matches | None:
    """Matches folders with the image in whose name their name is that of the leading folders."""
    index = TextIndex(others.names)
    places = np.full(len(images.names), -1, np.int64)
    starts = {place: parts for place, name in enumerate(images.names) if len(parts := name.split("/")) > 1}
    for depth in range(1, max(map(len, starts.values()), default=0)):
        asked = np.array([place for place, parts in starts.items() if len(parts) > depth], np.int64)
        found = index.find(Texts.of("/".join(starts[place][:depth]) for place in asked.tolist()))
        if (places[asked[found >= 0]] >= 0).any():  # folders in folders
            return None
        places[asked] = np.where(found >= 0, found, places[asked])
    taken = places[places >= 0]
    if not len(taken) or len(np.unique(taken)) < len(taken):
        return None
    first = int(np.flatnonzero(places >= 0)[0])
    told = (
        f"{others.files.spec.key}: paired by the folders in the names of images, such as {images.path(first)} with "
        f"{others.path(int(places[first]))}"
    )
    return Matches(places, told)


class _Common(NamedTuple):
    """The runs that all names begin and end with."""

    before: Sequence[str]
    after: Sequence[str]

    @property
    def digits(self) -> set[str]:
        return {run for run in (*self.before, *self.after) if run.isdigit()}

    def leave_out(self, names: Texts) -> Texts:
        """The rests of names."""
        start, end = len("".join(self.before)), len("".join(self.after))
        return Texts.of(name[start : len(name) - end] for name in names)


def _match_rests(images: Side, others: Side) -> Matches | None:
    """Matches by the common part; see `match_names`."""
    if min(len(images.names), len(others.names)) < 2:
        return None
    of_images, of_others = _find_common(images.names), _find_common(others.names)
    if not (of_images.digits <= of_others.digits or of_others.digits <= of_images.digits):
        return None
    rests, other_rests = of_images.leave_out(images.names), of_others.leave_out(others.names)
    index = TextIndex(other_rests)
    for texts, found in ((rests, TextIndex(rests)), (other_rests, index)):
        if (found.find_firsts() != np.arange(len(texts))).any():
            return None
    places = index.find(rests)
    if (places >= 0).sum() < len(other_rests):
        return None
    first = int(np.flatnonzero(places >= 0)[0])
    words = _word(images, others, of_images, of_others, "/" in "".join(rests))
    told = (
        f"{others.files.spec.key}: paired by what differs in the names, such as {images.path(first).name} with "
        f"{others.path(int(places[first])).name}{f' (as {words})' if words else ''}"
    )
    return Matches(places, told)


def _find_common(names: Iterable[str]) -> _Common:
    rest = iter(names)
    before = _RUN.findall(next(rest))
    after, least = before[::-1], len(before)
    for name in rest:
        runs = _RUN.findall(name)
        before = before[: _count_same(before, runs)]
        after = after[: _count_same(after, runs[::-1])]
        least = min(least, len(runs))
    return _Common(before, after[: least - len(before)][::-1])


def _count_same(one: Sequence[str], other: Sequence[str]) -> int:
    """How many items are the same from the start on."""
    return next(
        (number for number, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]),
        min(len(one), len(other)),
    )


def _word(images: Side, others: Side, of_images: _Common, of_others: _Common, deep: bool) -> str:
    """The words that say the same; empty where they are not simple.

    Args:
        images: see `match_names`.
        others: likewise.
        of_images: what the images have in common.
        of_others: what the others have.
        deep: whether there are folders in what differs.
    """
    suffix = "".join(of_others.after)
    if others.files.spec.key == "data.masks" and not (of_images.before or of_images.after or of_others.before):
        return f"data.mask_suffix={suffix}"
    globs = [] if deep else [_write_glob(images, of_images), _write_glob(others, of_others)]
    if not globs or None in globs:
        return ""
    return " ".join(f"{side.files.spec.key}='{glob}'" for side, glob in zip((images, others), globs, strict=True))


def _write_glob(side: Side, common: _Common) -> str | None:
    """The glob whose wildcard matches what differs; None where it is not simple."""
    typed, source = side.files.spec.typed, side.files.files.source
    before, after = "".join(common.before), "".join(common.after)
    if _WILDCARDS.search(before + after):
        return None
    if source.pattern is None:
        paths = side.files.files.paths.take(side.files.places[side.numbers])
        endings = {path[len(source.strip_suffix(path)) :] for path in paths}
        return f"{typed.rstrip('/')}/{before}*{after}{endings.pop() if len(endings) == 1 else '.*'}"
    simple = len(_WILDCARDS.findall(typed)) == 1 and typed.count("*") == 1
    return typed.replace("*", f"{before}*{after}") if simple else None
