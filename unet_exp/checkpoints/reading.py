"""Reads the content of a `.ckpt` file without Lightning and without running any code in it."""

import pickle
import re
import struct
import zipfile
import zlib
from pathlib import Path
from pickletools import genops
from typing import Any

import torch
from torch import Tensor

from unet_exp.checkpoints.record import KEY
from unet_exp.errors import DataError
from unet_exp.files import FETCH_FROM_GIT_LFS, is_git_lfs_pointer
from unet_exp.schema import leaves

STEP, WEIGHTS, LOOPS = "global_step", "state_dict", "loops"
"""Entries of Lightning beside the record: optimizer steps, all weights, states of its loops."""
NETWORK_PREFIX = "network."
"""Prefix of the names of the network's weights."""
EPOCH_LOSSES = "epoch_losses"
"""The losses of the epoch in progress."""
RANDOM_STATES = "random"
"""States of PyTorch's generators, (processes, bytes) by device."""

_DAMAGED = (
    RuntimeError,
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""Exceptions of `torch.load` for arbitrary bytes, read as instructions, sizes and offsets."""
_PLAIN = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_\w+|torch(\.storage)? \w+Storage|torch \w*(int|float)\w*"
)
"""Names in the pickle of tensors and state dicts."""
_MOST_BUILDS = 20
"""Most state dicts in a checkpoint."""


def read_content(path: Path) -> dict[str, Any]:
    """Reads a checkpoint of this project, plain containers and tensors, and verifies its checksums.

    `torch.save` writes a zip archive with a checksum for each tensor; `torch.load` does not verify them. It never
    compresses and never stores anything twice: an archive that does could unpack to any size.

    Raises:
        DataError: if it is damaged, no checkpoint, or one of another program.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
            size = path.stat().st_size
            twice = sum(entry.file_size for entry in entries) > size
            # PyTorch reads bytes before an archive, which have no checksum.
            before = min((entry.header_offset for entry in entries), default=0) > 0
            if packed or twice or before or archive.testzip():
                raise zipfile.BadZipFile
            for entry in entries:
                if entry.filename.lower().endswith("data.pkl"):  # PyTorch ignores case
                    _require_plain(archive.read(entry))
        content = torch.load(path, map_location="cpu", weights_only=True)
        if not all(_is_stored(leaf) for leaf in leaves(content, size) if isinstance(leaf, Tensor)):
            raise ValueError("a tensor is larger than what the file holds of it")
    except pickle.UnpicklingError:
        raise DataError(
            f"checkpoint={path}: this is no checkpoint of unet_exp, or it holds more than plain data and was refused"
        ) from None
    except PermissionError:
        raise DataError(f"checkpoint={path}: there is no permission to read it") from None
    except _DAMAGED:
        with path.open("rb") as file:
            pointer = is_git_lfs_pointer(file.read(64))
        what = "this is no checkpoint, or it is damaged"
        raise DataError(f"checkpoint={path}: {FETCH_FROM_GIT_LFS if pointer else what}") from None
    known = content.get(KEY) if isinstance(content, dict) else None
    if not isinstance(known, dict):
        raise DataError(f"checkpoint={path}: this is no checkpoint of unet_exp (it has no entry {KEY!r})")
    assert isinstance(content, dict)
    return content


def _require_plain(pickled: bytes) -> None:
    """Refuses calls that fill the memory, such as `bytearray(10**12)`; `weights_only=True` runs them.

    Raises:
        UnpicklingError: for calls of anything but tensors and empty containers.
        ValueError: if it is no pickle.
    """
    before, last, builds = "", "", 0
    for step, argument, _ in genops(pickled):
        foreign = "GLOBAL" in step.name and not _PLAIN.fullmatch(str(argument))
        # A call without arguments copies nothing, nor does one that ends with such a call, as each tensor's does.
        copies = step.name == "REDUCE" and last != "EMPTY_TUPLE" and (before, last) != ("REDUCE", "TUPLE")
        builds += step.name == "BUILD"  # copies attributes; of each state dict
        if foreign or copies or step.name == "NEWOBJ" or builds > _MOST_BUILDS:
            raise pickle.UnpicklingError(f"it calls {argument or step.name}")
        if "PUT" not in step.name:
            before, last = last, step.name


def _is_stored(tensor: Tensor) -> bool:
    """Whether the file holds each number of a tensor; an expanded, sparse or `meta` one can claim any size."""
    dense = tensor.layout == torch.strided and tensor.device.type == "cpu"
    return dense and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
