"""The record of a network as texts in the metadata of an exported file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unet_exp.checkpoints.checkpoint import Checkpoint
from unet_exp.checkpoints.record import KEY
from unet_exp.errors import DataError
from unet_exp.schema import leaves


def write_metadata(checkpoint: Checkpoint) -> dict[str, str]:
    """The metadata of an exported network, JSON texts under `unet_exp.<name>`.

    Returns:
        The record and `step`; and for other programs `activation`, which turns logits into probabilities, and `sizes`:
        legal heights and widths in pixels are `smallest`, `smallest` + `step` and so on, and the logits lack `context`
        pixels on each side.
    """
    sizes = checkpoint.architecture().sizes
    known = checkpoint.record.model_dump() | {
        "step": checkpoint.step,
        "activation": checkpoint.config.activation,
        "sizes": {"smallest": sizes.smallest, "step": sizes.step, "context": sizes.lost_border},
    }
    return {f"{KEY}.{name}": json.dumps(value) for name, value in known.items()}


def read_metadata(path: Path, texts: Mapping[str, str]) -> dict[str, Any]:
    """The unchecked values in the metadata of a file, whoever has written it.

    Raises:
        DataError: if it is a file of another program, or damaged.
    """
    own = {name.removeprefix(f"{KEY}."): text for name, text in texts.items() if name.startswith(f"{KEY}.")}
    if "format" not in own:
        raise DataError(f"checkpoint={path}: this network was not exported by unet_exp; use scripts/export.py")
    try:
        plain = {name: json.loads(text) for name, text in own.items()}
        list(leaves(plain, sum(map(len, own.values())) + len(own)))
        return plain
    except (RecursionError, ValueError) as error:
        raise DataError(f"checkpoint={path}: it is damaged ({type(error).__name__}: {error})") from None
