"""The keys of the commands beside `train`, with what their `--help` says of each."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, Field

from reference.rows import TOP, Row, make_row
from unet_exp.cli import cache, check_data, compare, evaluate, export, predict, preview
from unet_exp.config import Config
from unet_exp.runs.run_folder import OUTPUTS


class Command(NamedTuple):
    """A command.

    Attributes:
        usage: what `--help` prints.
        defaults: its own keys, with their default values.
        schema: of these.
        more: other keys, and groups, that it takes.
    """

    usage: str
    defaults: Mapping[str, Any]
    schema: type[BaseModel]
    more: tuple[str, ...] = ()


class _Preview(Config):
    """The command refuses a preview of nothing, which a training takes."""

    preview: Annotated[int, Field(ge=1, le=100)]


_TRUST: dict[str, Any] = {"trust": []}
_LOOK = f"{OUTPUTS}/check_data/<data>"
COMMANDS = {
    "evaluate": Command(evaluate.USAGE, {**evaluate.DEFAULTS, **_TRUST}, evaluate.Evaluation, evaluate.MORE_KEYS),
    "predict": Command(predict.USAGE, {**predict.DEFAULTS, **_TRUST}, predict.Prediction, predict.MORE_KEYS),
    "check_data": Command(check_data.USAGE, {"output": _LOOK}, Config),
    "preview": Command(preview.USAGE, {"preview": preview.COUNT, "output": OUTPUTS}, _Preview),
    "compare": Command(compare.USAGE, compare.DEFAULTS, compare.CompareTask),
    "export": Command(export.USAGE, export.DEFAULTS, export.Export),
    "cache": Command(cache.USAGE, cache.DEFAULTS, cache.CacheTask),
}


def list_keys(name: str) -> list[Row]:
    """The command's own keys.

    Raises:
        SystemExit: in one line, for a key that its help does not explain.
    """
    command = COMMANDS[name]
    told = _read_usage(command.usage)
    rows = []
    for key, value in command.defaults.items():
        field = command.schema.model_fields.get(key, Config.model_fields.get(key))
        assert field is not None
        row = make_row(key, told.get(key, ""), field, {TOP: value}, f"the help of {name}")
        rows.append(replace(row, required=value == ""))
    return rows


def _read_usage(usage: str) -> dict[str, str]:
    """What a help says of each key, in lines such as `  key   what it is`, which may go on below."""
    told: dict[str, str] = {}
    key = ""
    for line in usage.splitlines():
        found = re.fullmatch(r"  (\w+)  +(\S.*)", line)
        if found:
            key = found[1]
            told[key] = found[2]
        elif key and line.startswith("     "):
            told[key] += f" {line.strip()}"
        else:
            key = ""
    return told
