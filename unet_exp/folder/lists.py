"""Lists of images, as data sets come with them: one name a line, or a name and that of its mask."""

import logging
import os
import re
from contextlib import suppress
from pathlib import Path

import numpy as np

from unet_exp.errors import DataError
from unet_exp.folder.tails import NONE, SEVERAL, match_tails
from unet_exp.io.kinds import SUFFIXES
from unet_exp.io.listing import normalize_name
from unet_exp.io.specs import Source
from unet_exp.io.stored import CONTAINERS
from unet_exp.io.texts import Places, TextIndex, Texts

_log = logging.getLogger(__name__)

WORDS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
"""What folders and lists of each part are called, in any case."""

_FILE = re.compile(rf"(.*?(?:{'|'.join(map(re.escape, (*SUFFIXES, *CONTAINERS)))}))\s", re.IGNORECASE)
_strip_suffix = Source("").strip_suffix


def find_list(folder: Path, part: str) -> Path:
    """The list of a part in a folder: the first that is there under one of its `WORDS`, or else the one to make."""
    names = [f"{word}.txt" for word in WORDS[part]]
    there: dict[str, str] = {}
    with suppress(OSError):  # which reading it tells
        there = {name.lower(): name for name in sorted(os.listdir(folder)) if name.lower() in names}
    return folder / next((there[name] for name in names if name in there), names[0])


def match_lines(path: Path, names: Texts, files: Texts) -> Texts:
    """Reads a list, and finds the image of each line.

    A line is the name of an image or of its file, with or without suffix, with more folders before it or with fewer; a
    second column, behind a tab or spaces, is that of its mask, and is left out. A line that starts with `#` is a
    remark.

    Args:
        path: of the list.
        names: (N,) of images.
        files: (N,) of their files, which differ for the pages of a stack.

    Returns:
        (L,) for each line one of these names.

    Raises:
        DataError: for a list that cannot be read, and lines with no image, or with several.
    """
    lines = _read_lines(path)
    known = Texts.of(dict.fromkeys([*names, *files]))
    found = _match_columns(lines, known)
    for wrong in np.flatnonzero(found == SEVERAL)[:1].tolist():
        raise DataError(f"{path}: {lines[wrong]} may be one of several images; write their folders into the list")
    missing = np.flatnonzero(found < 0)
    if len(missing):
        first = ", ".join(_strip_suffix(lines[place]) for place in missing[:3].tolist())
        raise DataError(
            f"{path}: {len(missing)} of {len(lines)} names have no labelled image, {first} first; names look like "
            f"{names[0]}; correct the list, and leave images without a mask out of it"
        )
    listed = known.take(found)
    exact = TextIndex(known).find(Texts.of(map(_strip_suffix, lines))) == found
    if not exact.all():
        place = int(np.flatnonzero(~exact)[0])
        _log.warning(
            "%s: %d of %d lines are no name of an image, such as %s, which is taken for %s",
            *(path, (~exact).sum(), len(lines), lines[place], listed[place]),
        )
    return listed


def _match_columns(lines: list[str], known: Texts) -> Places:
    """(L,) the number of the name that each line, or its first column, means; see `match_tails`."""
    index = TextIndex(known)
    found = index.find(Texts.of(map(_strip_suffix, lines)))
    left = {place: _list_columns(lines[place]) for place in np.flatnonzero(found < 0).tolist()}
    # A whole line may end as a path does that is the mask's: it is the last to be taken for one.
    rounds = [(index.find, column) for column in range(3)]
    rounds += [(lambda wanted: match_tails(wanted, known), column) for column in (0, 1, 2, -1)]
    for find, column in rounds:
        asked = [place for place, columns in left.items() if columns[column] and found[place] == NONE]
        if asked:
            wanted = Texts.of(_strip_suffix(left[place][column].replace("\\", "/")) for place in asked)
            found[np.array(asked, np.int64)] = find(wanted)
    return found


def _list_columns(line: str) -> tuple[str, str, str, str]:
    """What may be the name in a line: what is before a tab, before a space behind a suffix, or any; and all of it."""
    match = _FILE.match(line)
    before = line.partition("\t")[0].strip() if "\t" in line else ""
    return before, match[1] if match else "", line.split()[0] if " " in line else "", line


def _read_lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); data.lists is the folder of train.txt, val.txt and, perhaps, "
            "test.txt"
        ) from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not a text in UTF-8; save it as one, a name a line") from None
    # NUL is found in a text in UTF-16.
    names = [normalize_name(line.strip()).replace("\0", "�") for line in lines]
    names = [name for name in names if name and not name.startswith("#")]
    if not names:
        raise DataError(f"{path}: holds no name; write one a line")
    return names
