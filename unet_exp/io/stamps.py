"""Stamps of files and folders: by them a change is seen without reading what they hold."""

import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

from unet_exp.io.specs import ZARR
from unet_exp.io.stored import split_inner

Stamp = tuple[int, int, int, int]
"""Size in bytes, inode, time of the last change of the content and of the entry (ns)."""
GONE: Stamp = (0, 0, 0, 0)

_PACKED = struct.Struct("=4q")
_MOST = 2**63 - 1
_METADATA = (".zarray", ".zgroup", ".zattrs", ".zmetadata", "zarr.json")


def stamp_path(path: str | Path, inner: str = "") -> Stamp:
    """The stamp of a file, of a folder that is an item, or of a Zarr, links followed.

    That of a folder has the bytes of its own files, and the newest of its times and theirs: a change deeper inside goes
    unseen. That of a Zarr is of its metadata, in its own folder, those directly below and that of the array inside,
    and of these folders: pixels that are written into chunks that exist already go unseen.

    Args:
        path: on the disk.
        inner: the array inside.

    Raises:
        OSError: for what is not there.
    """
    found = os.stat(path)
    if not stat.S_ISDIR(found.st_mode):
        return found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns
    if str(path).lower().endswith(ZARR):
        seen = [found, *_look_into_zarr(str(path), inner)]
    else:
        seen = [found, *_look_into(str(path))]
    return (
        sum(one.st_size for one in seen[1:]),
        found.st_ino,
        max(one.st_mtime_ns for one in seen),
        max(one.st_ctime_ns for one in seen),
    )


def stamp_item(path: Path) -> Stamp:
    """The stamp of what a path names, which may go on inside a container; that of `GONE` where nothing is there."""
    outer, inner = split_inner(path)
    try:
        # A folder whose name ends as a container's does is none.
        return stamp_path(path) if inner and outer.is_dir() and not _is_zarr_name(outer) else stamp_path(outer, inner)
    except OSError:
        return GONE


def pack_stamp(stamp: Stamp) -> bytes:
    """A stamp as four int64."""
    try:
        return _PACKED.pack(*stamp)
    except struct.error:  # times beyond the year 2262, numbers without sign
        return _PACKED.pack(*(number & _MOST for number in stamp))


def pack_stat(found: os.stat_result) -> bytes:
    """The packed stamp of a file that was looked at."""
    try:
        return _PACKED.pack(found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns)
    except struct.error:
        return pack_stamp((found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns))


def _is_zarr_name(path: Path) -> bool:
    return path.name.lower().endswith(ZARR)


def _look_into(folder: str) -> Iterator[os.stat_result]:
    """Looks at a folder's own files but hidden ones."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name[0] != "." and entry.is_file():
                yield entry.stat()


def _look_into_zarr(folder: str, inner: str) -> Iterator[os.stat_result]:
    with os.scandir(folder) as entries:
        names = {entry.name: entry.is_dir() for entry in entries}
    yield from _find_metadata(folder)
    if ".zarray" not in names:  # what lies below an array are its chunks
        for name in sorted(name for name, is_folder in names.items() if is_folder):
            yield from _find_metadata(os.path.join(folder, name), itself=True)
    if inner:
        yield from _find_metadata(os.path.join(folder, inner), itself=True)


def _find_metadata(folder: str, itself: bool = False) -> Iterator[os.stat_result]:
    """Looks at the metadata in a folder, and perhaps at the folder."""
    for path in ([folder] if itself else []) + [os.path.join(folder, name) for name in _METADATA]:
        try:
            found = os.stat(path)
        except OSError:
            continue
        yield found
