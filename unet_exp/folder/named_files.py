"""The files that a key of the config names, each with a name of its own by which images and masks are paired."""

import logging
import unicodedata
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from unet_exp.errors import DataError
from unet_exp.io.kinds import READ, describe_files, is_unread
from unet_exp.io.listing import Files, check_found, natural_key, scan_files
from unet_exp.io.texts import Places, TextIndex, Texts, sort_texts

_log = logging.getLogger(__name__)

_UNPRINTABLE = {"Cc", "Cs"}
"""Unicode's control letters, and surrogates for bytes that are not UTF-8: no table or picture can show them."""


class Listed(NamedTuple):
    """Files as they were listed.

    Attributes:
        files: all of them.
        unread: the places of images of a kind that is not read, in natural order.
    """

    files: Files
    unread: Places


class NamedFiles:
    """The files of those kinds that are read, with their names; `numbers` below are places in `names`.

    Attributes:
        files: all files.
        listed: these, and which of them are not read.
    """

    def __init__(self, spec: str, key: str, known: Listed | None = None) -> None:
        """Lists files, tells what is not read, and checks the names; all but the listing only if they are not `known`.

        Raises:
            DataError: for nothing found, names that cannot be shown, and two files of one name.
        """
        try:
            self.files = scan_files(spec, known=None if known is None else known.files)
            if not self.is_listed(known):
                check_found(spec, self.files)
        except DataError as error:
            raise DataError(f"{key}={spec}: {str(error).removeprefix(f'{Path(spec).expanduser()}: ')}") from None
        unread = known.unread if known is not None and self.is_listed(known) else _find_unread(self.files)
        self.listed = Listed(self.files, unread)
        self.tell_unread(spec, key)
        if not self.is_listed(known):
            self._check_names()

    @property
    def is_single(self) -> bool:
        """Whether one file was named, not a folder or a glob."""
        return self.files.source.file is not None

    @cached_property
    def places(self) -> Places:
        """(M,) among all files."""
        return np.flatnonzero(self.files.read)

    @cached_property
    def names(self) -> Texts:
        """(M,) in the order of `places`."""
        return self.files.names(self.places)

    def is_listed(self, known: Listed | None) -> bool:
        """Whether the same files were listed before, in the same order."""
        return known is not None and self.files.paths is known.files.paths

    def path(self, number: int) -> Path:
        """The file of a name."""
        return self.files.path(int(self.places[number]))

    def sort(self, numbers: Places) -> Places:
        """Brings names in natural order; those that differ in leading zeros alone by their paths."""

        def tie(place: int) -> tuple[str, str]:
            path = self.files.paths[int(self.places[numbers[place]])]
            return natural_key(path), path

        return numbers[sort_texts(self.names.take(numbers), natural_key, tie)]

    def tell_unread(self, spec: str, key: str) -> None:
        """Warns of images of a kind that is not read."""
        if len(self.listed.unread):
            unread = self.files.list_paths(self.listed.unread)
            _log.warning("%s=%s: left out are %s; %s", key, spec, describe_files(unread), READ)

    def _check_names(self) -> None:
        hidden = [number for number, name in enumerate(self.names) if _is_unprintable(name)]
        if hidden:
            path = self.files.path(int(self.files.sort(self.places[hidden])[0]))
            raise DataError(
                f"{ascii(str(path))[1:-1]}: its name holds a line break or the like, or is not UTF-8; rename it"
            )
        firsts = TextIndex(self.names).find_firsts()
        twice = firsts[firsts != np.arange(len(firsts))]
        if len(twice):
            first = self.sort(np.unique(twice))[0]
            both = self.files.list_paths(self.files.sort(self.places[firsts == firsts[first]])[:2])
            raise DataError(f"{both[0]}: has the same name as {both[1]}; keep one of the two")


def _is_unprintable(name: str) -> bool:
    return not name.isprintable() and not _UNPRINTABLE.isdisjoint(map(unicodedata.category, name))


def _find_unread(files: Files) -> Places:
    others = np.flatnonzero(~files.read)
    unread = [is_unread(path) for path in files.paths.take(others)]
    return files.sort(others[np.array(unread, bool)])
