"""A trained network as a safetensors file: its weights as they are, and its record in the metadata."""

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from unet_exp.checkpoints.checkpoint import Checkpoint
from unet_exp.checkpoints.metadata import read_metadata, write_metadata
from unet_exp.checkpoints.record import KEY
from unet_exp.config.own_classes import list_targets
from unet_exp.errors import DataError
from unet_exp.files import FETCH_FROM_GIT_LFS, is_git_lfs_pointer

SUFFIX = ".safetensors"
_DIGEST = f"{KEY}.sha256"
"""Of the weights and of our other texts in the metadata: the format itself has no checksums."""
_DAMAGED = (SafetensorError, OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError)
"""Exceptions of reading arbitrary bytes."""


def export_to_safetensors(checkpoint: Checkpoint, path: Path) -> int:
    """Writes the weights and the record of a checkpoint to `path`, and reads them back.

    Returns:
        How many numbers the weights are.

    Raises:
        DataError: if the checkpoint has no weights, or some that the format cannot hold.
    """
    if not checkpoint.weights:
        raise DataError(f"checkpoint={checkpoint.path}: it has no weights to export; name a .ckpt or a run")
    # The format refuses tensors that share their memory, as tied weights do.
    weights = {name: value.detach().cpu().contiguous().clone() for name, value in checkpoint.weights.items()}
    texts = write_metadata(checkpoint)
    try:
        content = save(weights, texts | {_DIGEST: json.dumps(_digest(weights, texts))})
    except (SafetensorError, LookupError, ValueError) as error:
        raise DataError(f"checkpoint={checkpoint.path}: safetensors cannot hold its weights: {error}") from None
    path.write_bytes(content)
    open_safetensors(path, list_targets(checkpoint.record.config, "predict").values())
    return sum(value.numel() for value in weights.values())


def open_safetensors(path: Path, trust: Collection[str]) -> Checkpoint:
    """Opens a file of `scripts/export.py`; see `unet_exp.checkpoints.opening.open_checkpoint`."""
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            texts = file.metadata() or {}
            plain = read_metadata(path, texts)
            # Copies: the file may be replaced while these are used.
            weights = {str(name): file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        intact = texts.get(_DIGEST) == json.dumps(_digest(weights, texts))
    except PermissionError:
        raise DataError(f"checkpoint={path}: there is no permission to read it") from None
    except _DAMAGED:
        raise DataError(f"checkpoint={path}: {_explain(path)}") from None
    if not intact:
        raise DataError(f"checkpoint={path}: it is damaged: its weights or metadata are not those that were exported")
    return Checkpoint.read(path, plain, plain.get("step"), weights, trust)


def _explain(path: Path) -> str:
    with path.open("rb") as file:
        pointer = is_git_lfs_pointer(file.read(64))
    return FETCH_FROM_GIT_LFS if pointer else "this is no safetensors file, or it is damaged"


def _digest(weights: Mapping[str, Tensor], texts: Mapping[str, str]) -> str:
    """sha256 in hexadecimal over our texts, and the names, shapes, types and numbers of weights on the CPU."""
    digest = hashlib.sha256()
    for name, text in sorted(texts.items()):
        if name.startswith(f"{KEY}.") and name != _DIGEST:  # other programs may add texts of their own
            digest.update(json.dumps([name, text]).encode())
    for name, value in sorted(weights.items()):
        digest.update(json.dumps([name, list(value.shape), str(value.dtype)]).encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
