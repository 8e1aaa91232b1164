"""Keys of a training that must have a value: null is none of theirs."""

from collections.abc import Iterator
from functools import cache
from types import NoneType
from typing import Any

from pydantic import BaseModel

from unet_exp.text_keys import list_types


@cache
def must_have_value(key: str) -> bool:
    """Whether a key of a training cannot be null in any option of its group; false for what is no such key."""
    from unet_exp.config import Config  # only now: most words need no schema

    kinds = list(_list_kinds(Config, key.split(".")))
    return bool(kinds) and not any(kind in (NoneType, Any) for kind in kinds)


def _list_kinds(schema: type[BaseModel], parts: list[str]) -> Iterator[Any]:
    """The types that a key, given in its parts, can have in a schema."""
    name, *rest = parts
    if name not in schema.model_fields:
        return
    for kind in list_types(schema.model_fields[name].annotation):
        is_group = isinstance(kind, type) and issubclass(kind, BaseModel)
        if is_group and rest:
            yield from _list_kinds(kind, rest)
        elif not is_group and not rest and name != "name":  # of these there is more to say
            yield kind
