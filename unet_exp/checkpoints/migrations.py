"""What earlier versions kept of a network, brought to the form of today step by step."""

from collections.abc import Callable
from textwrap import shorten
from typing import Any

Plain = dict[str, Any]
"""A record as it stands in a file; see `unet_exp.checkpoints.record.CheckpointRecord`."""


def _to_2(plain: Plain) -> Plain:
    """The words of class weights changed, and whole images came to be cut into tiles; nothing was known of digests."""
    config = {**plain["config"], "inference": _WHOLE_IMAGES, "metrics": {"warping": False, "warping_radius": None}}
    if config["loss"].get("class_weights") == "balanced":
        config["loss"] = {**config["loss"], "class_weights": "inverse"}
    return {"trained_on": [], **plain, "config": config}


def _to_3(plain: Plain) -> Plain:
    """A class of the user's own may be named since, and `trust` is a key of the config."""
    return {**plain, "config": {"trust": [], **plain["config"]}}


_WHOLE_IMAGES = {"name": "none", "tile": 1024, "batch_size": 1, "context": "auto", "blend": 0}
MIGRATIONS: dict[int, Callable[[Plain], Plain]] = {1: _to_2, 2: _to_3}
"""From a format to the one after it."""
FORMAT = max(MIGRATIONS) + 1
"""Of the files that are written. It is raised, with a migration, when a file of today could not be read any more."""


def migrate(plain: Plain) -> Plain:
    """Brings what a file says to today's form.

    Args:
        plain: as it stands in the file; anybody may have written it.

    Raises:
        ValueError: with the reason why it cannot be read, to go on from the name of the file.
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
