"""Migrations of records of earlier versions to the current format, step by step."""

from collections.abc import Callable
from textwrap import shorten
from typing import Any

Plain = dict[str, Any]
"""An unchecked record; see `unet_exp.checkpoints.record.CheckpointRecord`."""


def _to_2(plain: Plain) -> Plain:
    """Format 2 renamed a word of class weights, and added tiles for whole images, metrics and digests."""
    config = {**plain["config"], "inference": _WHOLE_IMAGES, "metrics": {"warping": False, "warping_radius": None}}
    if config["loss"].get("class_weights") == "balanced":
        config["loss"] = {**config["loss"], "class_weights": "inverse"}
    return {"trained_on": [], **plain, "config": config}


def _to_3(plain: Plain) -> Plain:
    """Format 3 added users' own classes, and the key `trust`."""
    return {**plain, "config": {"trust": [], **plain["config"]}}


_WHOLE_IMAGES = {"name": "none", "tile": 1024, "batch_size": 1, "context": "auto", "blend": 0}
MIGRATIONS: dict[int, Callable[[Plain], Plain]] = {1: _to_2, 2: _to_3}
"""From each format to the next."""
FORMAT = max(MIGRATIONS) + 1
"""The current format. Raise it, with a migration, when a change makes current files unreadable."""


def migrate(plain: Plain) -> Plain:
    """Brings an unchecked record to the current format.

    Raises:
        ValueError: if it is damaged or has a newer format; the message continues the name of the file.
    """
    version = plain.get("format")
    if type(version) is not int or version < 1:
        raise ValueError(f"it is damaged: its format is {shorten(ascii(version), 40)}, no whole number from 1 on")
    if version > FORMAT:
        raise ValueError(
            f"its format {version} is newer than those that this version of unet_exp reads (1 to {FORMAT}); "
            "update unet_exp"
        )
    for earlier in range(version, FORMAT):
        try:
            plain = {**MIGRATIONS[earlier](plain), "format": earlier + 1}
        except (KeyError, TypeError, AttributeError):
            raise ValueError(f"it is damaged: it is not what format {version} was") from None
    return plain
