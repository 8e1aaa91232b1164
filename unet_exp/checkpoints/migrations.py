"""What earlier versions kept of a network, brought to the form of today step by step."""

from collections.abc import Callable
from textwrap import shorten
from typing import Any

Known = dict[str, Any]
"""What a file says of its network, plain; see `unet_exp.checkpoints.checkpoint.describe`."""


def _to_2(known: Known) -> Known:
    """The words of class weights changed, and whole images came to be cut into tiles; nothing was known of digests."""
    config = {**known["config"], "inference": _WHOLE_IMAGES, "metrics": {"warping": False, "warping_radius": None}}
    if config["loss"].get("class_weights") == "balanced":
        config["loss"] = {**config["loss"], "class_weights": "inverse"}
    return {"trained_on": [], **known, "config": config}


def _to_3(known: Known) -> Known:
    """A class of the user's own may be named since, and `trust` is a key of the config."""
    return {**known, "config": {"trust": [], **known["config"]}}


_WHOLE_IMAGES = {"name": "none", "tile": 1024, "batch_size": 1, "context": "auto", "blend": 0}
MIGRATIONS: dict[int, Callable[[Known], Known]] = {1: _to_2, 2: _to_3}
"""From a format to the one after it."""
FORMAT = max(MIGRATIONS) + 1
"""Of the files that are written. It is raised, with a migration, when a file of today could not be read any more."""


def migrated(known: Known) -> Known:
    """What a file says, in today's form.

    Args:
        known: as it stands in the file; anybody may have written it.

    Raises:
        ValueError: with the reason why it cannot be read, to go on from the name of the file.
    """
    version = known.get("format")
    if type(version) is not int or version < 1:
        raise ValueError(f"it is damaged: its format is {shorten(ascii(version), 40)}, no whole number from 1 on")
    if version > FORMAT:
        raise ValueError(
            f"its format {version} is newer than those that this version of unet_exp reads (1 to {FORMAT}); "
            "update unet_exp"
        )
    for earlier in range(version, FORMAT):
        try:
            known = MIGRATIONS[earlier](known)
        except (KeyError, TypeError, AttributeError):
            raise ValueError(f"it is damaged: it is not what format {version} was") from None
    return known
