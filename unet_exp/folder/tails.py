"""Names in lists and annotations, found among those of images by the ends of their paths."""

from collections.abc import Iterable

import numpy as np

from unet_exp.io.texts import Places, TextIndex, Texts

NONE, SEVERAL = -1, -2
"""In place of a number: no name fits, or several fit as well."""


def match_tails(wanted: Texts, names: Texts, paths: Iterable[str] | None = None) -> Places:
    """Finds the image that each of some paths means.

    It is the one of that very name; else the only one in whose own path that path is the end, whole folders only; else
    the one whose name is the longest end of that path.

    Args:
        wanted: (W,) paths without suffix, `/` between their folders.
        names: (N,) of images, each once.
        paths: (N,) of images, without suffix, as far as they are known; None: their names.

    Returns:
        (W,) numbers of images, `NONE` or `SEVERAL`.
    """
    index = TextIndex(names)
    found = index.find(wanted)
    left = np.flatnonzero(found < 0)
    if len(left):
        found[left] = _find_ends(wanted.take(left), names if paths is None else paths)
    ends = {place: wanted[place] for place in np.flatnonzero(found == NONE).tolist()}
    while ends := {place: end.partition("/")[2] for place, end in ends.items() if "/" in end}:
        places = np.array(list(ends))
        found[places] = index.find(Texts.of(ends.values()))
        ends = {place: end for place, end in ends.items() if found[place] < 0}
    return found


def _find_ends(wanted: Texts, paths: Iterable[str]) -> Places:
    """(W,) the only image in whose path each is the end; see `match_tails`."""
    found = np.full(len(wanted), NONE, np.int64)
    of_file: dict[str, list[tuple[int, str]]] = {}
    for place, path in enumerate(wanted):
        of_file.setdefault(path.rpartition("/")[2], []).append((place, f"/{path.lstrip('/')}"))
    for number, path in enumerate(paths):
        for place, end in of_file.get(path.rpartition("/")[2], ()):
            if f"/{path}".endswith(end):
                found[place] = number if found[place] == NONE else SEVERAL
    return found
