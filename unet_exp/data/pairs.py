"""Pairs images with masks by the names of their files."""

import logging
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from unet_exp.data.classes import list_few
from unet_exp.errors import DataError
from unet_exp.io.kinds import READ, describe_files, list_unread
from unet_exp.io.listing import list_files, natural_key

_log = logging.getLogger(__name__)

_SHOWN = 3
_UNPRINTABLE = {"Cc", "Cs"}
"""Unicode's control letters, and surrogates for bytes that are not UTF-8: no table or picture can show them."""


class Pair(NamedTuple):
    """An image with its mask and its field of view, if it has them.

    Attributes:
        name: the path that they share, without suffix.
        image: file.
        mask: file.
        view: file of a mask that is 0 outside the field of view.
    """

    name: str
    image: Path
    mask: Path | None
    view: Path | None = None


def find_pairs(
    images: str, masks: str, mask_suffix: str, mask_missing: Callable[[str], bool], views: str | None = None
) -> list[Pair]:
    """Finds images, each with the mask and the field of view of the same name, in natural order.

    The name of a file is its path below the folder, or the text that the wildcards of the glob match; two single files
    are a pair whatever their names.

    Args:
        images: a folder (with its subfolders), a glob or a file.
        masks: likewise.
        mask_suffix: what the names of masks have more at their end; images and masks may then lie in one folder.
        mask_missing: whether the image of this name may lack a mask.
        views: masks of the field of view, given as `images`, or one file for all images; None: there are none.

    Raises:
        DataError: for nothing found, two files of one name, and images and masks without their counterpart.
    """
    found, masked = _find_files(images, "data.images"), _find_files(masks, "data.masks")
    if found == masked:  # One folder: the suffix tells masks from images.
        found = {name: path for name, path in found.items() if not mask_suffix or not name.endswith(mask_suffix)}
        masked = {name: path for name, path in masked.items() if name not in found}
        if not masked:
            raise DataError(
                f"data.masks={masks}: these are the files of data.images; give the folder of the masks, or "
                "data.mask_suffix, which the names of masks have more at their end"
            )
    masked = _strip_suffix(masked, mask_suffix)
    if Path(images).expanduser().is_file() and Path(masks).expanduser().is_file():
        masked = dict(zip(found, masked.values(), strict=True))
    bare = [name for name in found if name not in masked and not mask_missing(name)]
    if bare:
        files = list_few([str(found[name]) for name in bare], _SHOWN)
        raise DataError(
            f"{files}: no mask in data.masks={masks}, where {bare[0]}{mask_suffix}.png or the like is looked for; "
            "add it, set data.mask_suffix, or data.without_mask=unlabelled"
        )
    orphans = [str(path) for name, path in masked.items() if name not in found]
    if orphans:
        files = list_few(orphans, _SHOWN)
        raise DataError(f"{files}: a mask without an image in data.images={images}; add the image or move it away")
    seen = {} if views is None else find_views(views, found)
    return [Pair(name, path, masked.get(name), seen.get(name)) for name, path in found.items()]


def find_views(views: str, images: Mapping[str, Path]) -> dict[str, Path]:
    """Finds the mask of the field of view of each image, by the image's name; others are left out.

    Raises:
        DataError: for nothing found, two files of one name, and an image without one.
    """
    found = _find_files(views, "data.field_of_view")
    if Path(views).expanduser().is_file():  # one for all
        return dict.fromkeys(images, *found.values())
    bare = [name for name in images if name not in found]
    if bare:
        raise DataError(
            f"{list_few([str(images[name]) for name in bare], _SHOWN)}: no mask of the field of view in "
            f"data.field_of_view={views}, where the name {bare[0]} is looked for and such as {next(iter(found))} is "
            "found; its wildcards must match the image's name, as in 'masks/*_fov.png'"
        )
    return {name: found[name] for name in images}


def _strip_suffix(named: dict[str, Path], suffix: str) -> dict[str, Path]:
    for name, path in named.items():
        if not name.endswith(suffix):
            raise DataError(f"{path}: does not end in data.mask_suffix={suffix}; rename it, move it or fix the key")
    return {name.removesuffix(suffix): path for name, path in named.items()}


def _find_files(spec: str, key: str) -> dict[str, Path]:
    """Lists files by name, in natural order."""
    try:
        images, others = list_files(spec)
    except DataError as error:
        raise DataError(f"{key}={spec}: {str(error).removeprefix(f'{Path(spec).expanduser()}: ')}") from None
    if unread := list_unread(others):
        _log.warning("%s=%s: left out are %s; %s", key, spec, describe_files(unread), READ)
    files: dict[str, list[Path]] = {}
    for name, path in images:
        if _UNPRINTABLE & {unicodedata.category(letter) for letter in name}:
            raise DataError(
                f"{ascii(str(path))[1:-1]}: its name holds a line break or the like, or is not UTF-8; rename it"
            )
        files.setdefault(name, []).append(path)
    named: dict[str, Path] = {}
    for name in sorted(files, key=lambda name: natural_key(Path(name))):
        first = files[name][0]
        if len(files[name]) > 1:
            raise DataError(f"{first}: has the same name as {files[name][1]}; keep one of the two")
        named[name] = first
    return named
