"""Keys whose values are texts: `name=1` and `name=2024_01` mean what stands there, and no number."""

import types
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin

from hydra.core.override_parser.types import Override
from pydantic import BaseModel

OF_COMMANDS = ("checkpoint", "input", "output", "memory", "runs", "baseline", "metric", "clear")
"""Those of the commands that are no keys of a training."""
_NO_TEXT = (int, float, bool, Any)


def is_misread(override: Override) -> bool:
    """Whether Hydra's grammar has made a number, or true or false, of the value of a text key."""
    if override.is_sweep_override() or not isinstance(override.value(), int | float):
        return False
    return override.key_or_group in _list_all()


@cache
def _list_all() -> frozenset[str]:
    # Only now: most words need no schema.
    from unet_exp.config import Config
    from unet_exp.config.multirun import OptunaConfig, SlurmConfig

    of_sweeps = *list_text_keys(OptunaConfig, "search."), *list_text_keys(SlurmConfig, "hydra.launcher.")
    return frozenset([*OF_COMMANDS, *list_text_keys(Config), *of_sweeps])


def list_text_keys(schema: type[BaseModel], above: str = "") -> Iterator[str]:
    """Keys whose values can be texts and neither numbers nor true or false.

    Args:
        schema: of a config; of a group with several options, the keys of all.
        above: what all keys begin with.
    """
    for name, field in schema.model_fields.items():
        kinds = list(list_types(field.annotation))
        if str in kinds and not any(kind in _NO_TEXT for kind in kinds):
            yield f"{above}{name}"
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from list_text_keys(kind, f"{above}{name}.")


def list_types(annotation: Any) -> Iterator[Any]:
    """The types of a union, without what is only said about them; a list or a dict is one type."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from list_types(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for kind in get_args(annotation):
            yield from list_types(kind)
    else:
        yield origin or annotation
