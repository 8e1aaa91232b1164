"""The files that a key of the config names, each with a name of its own by which images and masks are paired."""

import logging
import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from unet_exp.config.user_data import FolderConfig
from unet_exp.errors import DataError
from unet_exp.io.kinds import ANNOTATION_SUFFIXES, READ, describe_files, is_unread
from unet_exp.io.listing import Files, check_found, natural_key, scan_files
from unet_exp.io.specs import Kinds
from unet_exp.io.texts import Places, TextIndex, Texts, sort_texts

_log = logging.getLogger(__name__)

_UNPRINTABLE = {"Cc", "Cs"}
"""Unicode's control letters, and surrogates for bytes that are not UTF-8: no table or picture can show them."""


class Spec(NamedTuple):
    """A folder, a glob or a file that the config names.

    Attributes:
        key: of the config.
        typed: what the user typed.
        path: what that is below `data.root`.
    """

    key: str
    typed: str
    path: str

    @classmethod
    def of(cls, key: str, typed: str) -> Self:
        """One that is below no root."""
        return cls(key, typed, typed)

    def __str__(self) -> str:
        there = Path(self.path).expanduser() == Path(self.typed).expanduser()
        return f"{self.key}={self.typed}" + ("" if there else f" ({self.path})")


class FileSpecs(NamedTuple):
    """What the config says of files.

    Attributes:
        images: of the channels of each image, one or more.
        masks: by the label of their class; `""` where one file holds all.
        mask_suffix: what the names of masks have more at their end; images and masks may then lie in one folder.
        view: masks of the field of view, or one file for all images; None: there are none.
    """

    images: tuple[Spec, ...]
    masks: Mapping[str, Spec]
    mask_suffix: str = ""
    view: Spec | None = None

    @classmethod
    def of(cls, config: FolderConfig) -> Self:
        """Those of a config."""
        images = [config.images] if isinstance(config.images, str) else config.images
        masks = {"": config.masks} if isinstance(config.masks, str) else config.masks
        one, whole = len(images) == 1, isinstance(config.masks, str)
        return cls(
            tuple(
                Spec("data.images" if one else f"data.images[{place}]", typed, path)
                for place, (typed, path) in enumerate(zip(images, config.image_specs, strict=True))
            ),
            {
                label: Spec("data.masks" if whole else f"data.masks.{label}", masks[label], path)
                for label, path in config.mask_specs.items()
            },
            config.mask_suffix,
            None
            if config.view_spec is None
            else Spec("data.field_of_view", config.field_of_view or "", config.view_spec),
        )

    def name_masks(self) -> str:
        """What names the masks, for messages."""
        return ", ".join(map(str, self.masks.values()))


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
        spec: what names them.
        files: all files.
        listed: these, and which of them are not read.
    """

    def __init__(
        self, spec: Spec, known: Listed | None = None, kinds: Kinds = "images", files: Files | None = None
    ) -> None:
        """Lists files, tells what is not read, and checks the names; all but the listing only if they are not `known`.

        Args:
            spec: names them.
            known: as they were listed before.
            kinds: see `unet_exp.io.specs.Source`.
            files: as they are listed already; None: not yet.

        Raises:
            DataError: for nothing found, names that cannot be shown, and two files of one name.
        """
        self.spec = spec
        try:
            self.files = files or scan_files(spec.path, known=None if known is None else known.files, kinds=kinds)
            if not self.is_listed(known):
                check_found(spec.path, self.files)
        except DataError as error:
            raise DataError(f"{spec}: {str(error).removeprefix(f'{Path(spec.path).expanduser()}: ')}") from None
        unread = known.unread if known is not None and self.is_listed(known) else _find_unread(self.files)
        self.listed = Listed(self.files, unread)
        if len(unread):
            _log.warning("%s: left out are %s; %s", spec, describe_files(self.files.list_paths(unread)), READ)
        if not self.is_listed(known):
            self._check_names()

    def as_masks(self, spec: Spec, known: Listed | None, suffixed: bool) -> "NamedFiles":
        """The masks among the files of images: those whose names have a suffix or, without one, annotations."""
        kinds: Kinds = "annotations" if not suffixed and self.has_annotations else "images"
        files = replace(self.files, source=self.files.source._replace(kinds=kinds))
        return NamedFiles(spec, known, files=files)

    @property
    def is_single(self) -> bool:
        """Whether one file was named, not a folder or a glob."""
        return self.files.source.file is not None

    @cached_property
    def has_annotations(self) -> bool:
        """Whether there are annotations among all files."""
        return any(path.lower().endswith(ANNOTATION_SUFFIXES) for path in self.files.paths)

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

    def _check_names(self) -> None:
        hidden = [number for number, name in enumerate(self.names) if is_unprintable(name)]
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


def is_unprintable(name: str) -> bool:
    """Whether a name holds a line break or the like, or is not UTF-8."""
    return not name.isprintable() and not _UNPRINTABLE.isdisjoint(map(unicodedata.category, name))


def _find_unread(files: Files) -> Places:
    others = np.flatnonzero(~files.read)
    unread = [is_unread(path) for path in files.paths.take(others)]
    return files.sort(others[np.array(unread, bool)])
