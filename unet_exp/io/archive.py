"""Unpacks a ZIP archive from elsewhere: nothing outside the target, nothing but files and folders, no bomb.

`zipfile`, and pooch through it, unpacks members outside of the folder under another name, and has no limit.
"""

import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath

MAX_BYTES = 2**31
"""Most bytes that an archive may hold unpacked."""


class BadArchive(Exception):
    """An archive that cannot be unpacked safely; the message continues "the archive"."""


def unpack(path: Path, target: Path, limit: int = MAX_BYTES) -> None:
    """Unpacks an archive of at most `limit` bytes into `target` after a check of all its members.

    Raises:
        BadArchive: for a damaged or encrypted archive, members outside `target`, links and devices, and more than
            `limit` bytes.
        OSError: if the content cannot be written.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            for member in members:
                _check(member)
            # zipfile reads no more of a member than it declares.
            if sum(member.file_size for member in members) > limit:
                raise BadArchive(f"holds more than {limit} bytes")
            archive.extractall(target)
    except (EOFError, zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error) as error:
        raise BadArchive(f"is damaged, encrypted or of an unknown kind ({' '.join(str(error).split())})") from None


def _check(member: zipfile.ZipInfo) -> None:
    name = member.filename
    parts = PurePosixPath(name).parts
    # A name that is harmless here may leave the folder on Windows.
    if name.startswith("/") or ".." in parts or "\\" in name or PureWindowsPath(name).drive:
        raise BadArchive(f"holds {name!r}, which leads out of its folder")
    kind = stat.S_IFMT(member.external_attr >> 16)  # 0 where the archive was not made on Unix.
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise BadArchive(f"holds {name!r}, which is a link or device")
