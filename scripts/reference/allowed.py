"""What a key may be, in words, from the schema."""

import types
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

SEPARATOR = " · "
"""Between what a key may be."""
_WORDS = {bool: "`true`" + SEPARATOR + "`false`", str: "text", type(None): "`null`", Any: "anything"}


def find_schema(annotation: Any, word: str) -> type[BaseModel]:
    """The schema of an option in the type of its group, which may be a union."""
    found = [*_list_schemas(annotation)]
    named = (
        schema for schema in found if word in get_args(getattr(schema.model_fields.get("name"), "annotation", None))
    )
    return next(named, found[0])


def _list_schemas(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _list_schemas(part)


def describe_field(field: FieldInfo) -> str:
    """What the key of a field may be."""
    return field.description or _describe(field.annotation, field.metadata)


def _describe(annotation: Any, notes: Sequence[Any] = ()) -> str:
    """A type in words; `notes` are what is said about it: limits, descriptions."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _describe(parts[0], [*notes, *parts[1:]])
    told = next((note.description for note in notes if isinstance(note, FieldInfo) and note.description), None)
    if told:
        return told
    if origin in (Union, types.UnionType):
        # Options in the order in which they are written, but null last.
        ordered = sorted(parts, key=lambda part: part is type(None))
        return SEPARATOR.join(_describe(part) for part in ordered)
    if origin is Literal:
        return SEPARATOR.join(f"`{word}`" for word in parts)
    limits = _read_limits(notes)
    if annotation in (int, float):
        return ", ".join(
            filter(None, ["integer" if annotation is int else "number", _describe_range(annotation, limits)])
        )
    if origin is list:
        return f"list{_describe_length(limits)}" + ("" if parts[0] is Any else f", each: {_describe(parts[0])}")
    if origin is dict:
        return "`{key: value, ...}`"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _describe_keys(annotation)
    return _WORDS[annotation]


def _read_limits(notes: Sequence[Any]) -> dict[str, Any]:
    """Limits by the names that pydantic has for them: ge, gt, le, lt, min_length, max_length."""
    flat = [part for note in notes for part in (note.metadata if isinstance(note, FieldInfo) else [note])]
    names = ("ge", "gt", "le", "lt", "min_length", "max_length")
    return {name: getattr(note, name) for note in flat for name in names if getattr(note, name, None) is not None}


def _describe_range(kind: type, limits: dict[str, Any]) -> str:
    if kind is int and "lt" in limits:
        limits = {**limits, "le": limits["lt"] - 1}
        del limits["lt"]
    if "ge" in limits and "le" in limits:
        return f"{limits['ge']} to {limits['le']}"
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    return " and ".join(f"{word} {limits[name]}" for name, word in words.items() if name in limits)


def _describe_length(limits: dict[str, Any]) -> str:
    least, most = limits.get("min_length"), limits.get("max_length")
    if least is None:
        return ""
    return f" of {least}" if least == most else f" of {least} or more"


def _describe_keys(schema: type[BaseModel]) -> str:
    fields = schema.model_fields.items()
    needed = ", ".join(name for name, field in fields if field.is_required())
    more = ", ".join(f"`{name}`" for name, field in fields if not field.is_required())
    return f"`{{{needed}}}`" + (f", perhaps also {more}" if more else "")
