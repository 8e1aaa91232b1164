"""Checks plain values against a schema, and explains an error in one line, in the words of the user."""

from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from unet_exp.errors import ConfigError


class Strict(BaseModel):
    """Plain values of exactly the declared types, no unknown keys."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


Schema = TypeVar("Schema", bound=BaseModel)

DEEPEST = 50
"""Levels of nesting in a file; more than any file of this project needs."""


def leaves(tree: object, size: int) -> Iterator[object]:
    """The values and keys in nested dicts, lists, tuples and sets.

    Args:
        tree: read from a file.
        size: of the file in bytes.

    Raises:
        ValueError: if it holds more than so many bytes can. An alias in a YAML file can repeat a thing many times or
            put it into itself, and so fill any memory.
    """
    waiting: list[tuple[object, int]] = [(tree, 0)]
    count = 0
    while waiting:
        value, depth = waiting.pop()
        count += 1
        if isinstance(value, dict | list | tuple | set):
            inside = [*value, *value.values()] if isinstance(value, dict) else value
            waiting += [(item, depth + 1) for item in inside]
        else:
            yield value
        if depth > DEEPEST or count + len(waiting) > size:
            raise ValueError("it holds too much")


def validate(schema: type[Schema], values: dict[str, Any]) -> Schema:
    """Checks values against a schema; raises `ConfigError`."""
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".name" if first["type"].startswith("union_tag") else ""
        raise ConfigError(explain(error, values), _key(first["loc"], values) + name) from None


def explain(error: ValidationError, values: dict[str, Any], field: str | None = None) -> str:
    """The first error, in one line.

    Args:
        error: of pydantic.
        values: the checked values.
        field: whose error; None: of any.
    """
    errors = [found for found in error.errors() if field in (None, *found["loc"][:1])]
    key, value = _key(errors[0]["loc"], values), errors[0]["input"]
    if errors[0]["type"] == "extra_forbidden":
        return f"unknown key {key}"
    if errors[0]["type"] == "missing":
        return f"the key {key} is missing"
    if errors[0]["type"] == "union_tag_not_found":
        return f"the key {key}.name is missing"
    if errors[0]["type"] == "union_tag_invalid":
        context = errors[0]["ctx"]
        return f"{key}.name={context['tag']!r}: should be one of {context['expected_tags']}"
    if errors[0]["type"] == "string_type" and len(errors) == 1 and isinstance(value, int | float):
        return f"{key}={value!r}: must be a text; in a file it stands in quotes"
    # A value of a union fails once for each of its types.
    same_value = [item for item in errors if _key(item["loc"], values) == key]
    message = " or ".join(dict.fromkeys(_say_wish(item["type"], item["msg"], value) for item in same_value))
    if errors[0]["type"] == "value_error" and (not key or not message.startswith(("must", "cannot"))):
        return message
    return f"{key}={'null' if value is None else repr(value)}: {message}"


def _say_wish(kind: str, message: str, value: object) -> str:
    """What a value should be, by an error of pydantic: in the words of what is typed, not in those of Python."""
    if kind == "bool_type":
        return "should be true or false"
    if kind == "string_type":
        return "should be a text"
    if kind in ("list_type", "tuple_type"):
        return f"should be a list, such as [{value}]" if isinstance(value, str) and value else "should be a list"
    return message.removeprefix("Value error, ").replace("Input should be", "should be", 1)


def _key(location: tuple[int | str, ...], values: dict[str, Any]) -> str:
    """The key that a user would type for a place in the values, without what pydantic adds."""
    node: Any = values
    parts: list[str] = []
    if len(location) > 1 and isinstance(values.get(str(location[0])), dict):
        # A union puts its tag behind the group: that of model=encoder, which has a key of this name too.
        tagged = location[1] == values[str(location[0])].get("name")
        location = (location[0], *location[2 if tagged else 1 :])
    for part in location:
        if isinstance(node, list) and isinstance(part, int) and part < len(node) and isinstance(node[part], dict):
            node = node[part]
            parts[-1] += f"[{part}]"
            continue
        if isinstance(node, dict) and part in node:
            node = node[part]
        elif isinstance(node, dict) and part == node.get("name"):
            continue
        elif isinstance(node, dict):
            node = None
        else:
            break
        parts.append(str(part))
    return ".".join(parts)
