"""The rows of the tables: each key with its meaning, its default value in each option, and what it may be."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from omegaconf import OmegaConf
from pydantic import BaseModel
from reference.allowed import describe_field, find_schema
from reference.comments import Option, Said, read_file, read_option

from unet_exp.config import Config
from unet_exp.config.multirun import SearchConfig, SlurmConfig, SweepConfig
from unet_exp.config_files import SHARED
from unet_exp.options import conf_dir

LAUNCHER = "hydra/launcher"
TOP = ""
"""What stands for the group of the keys that are in none."""
_OTHERS = {"search": SearchConfig, "sweep": SweepConfig, LAUNCHER: SlurmConfig}
"""What the schema of a training does not hold."""
_UNTYPED = ("name", "_target_")
"""Keys of options that the option's word sets."""


@dataclass(frozen=True)
class Row:
    """A key.

    Attributes:
        key: as it is typed, such as `loss.gamma`.
        meaning: its comment.
        allowed: what it may be, in Markdown.
        everywhere: whether every option of its group has it, with this meaning.
        defaults: its values, by the options that have it; a group without options has the empty word.
    """

    key: str
    meaning: str
    allowed: str
    everywhere: bool
    defaults: dict[str, Any] = field(default_factory=dict)


def list_options(group: str) -> list[Option]:
    """The options of a group in `conf/`, its default first."""
    words = sorted(path.stem for path in (conf_dir() / group).glob("*.yaml") if not path.stem.startswith(SHARED))
    chosen = find_default(group)
    words.sort(key=lambda word: (word != chosen, word == "custom"))
    options = [read_option(group, word) for word in words]
    for option in options:
        if not option.about:
            raise SystemExit(f"error: conf/{group}/{option.word}.yaml: say in a comment in its first line what it is")
    return options


def find_default(group: str) -> str | None:
    """The option that is chosen where none is typed."""
    words: Any = next((entry[group] for entry in read_file("train").defaults if group in entry), None)
    return words


def find_annotation(group: str) -> Any:
    """The type that holds the keys of a group; `TOP`: of those in none."""
    if group == TOP:
        return Config
    return _OTHERS[group] if group in _OTHERS else Config.model_fields[group].annotation


def list_rows(group: str) -> list[Row]:
    """The rows of a group, or of the keys that are in none.

    Raises:
        SystemExit: in one line, for a key without a meaning or that only one of `conf/` and schema has.
    """
    if (conf_dir() / group).is_dir() and group != TOP:
        options = list_options(group)
    else:
        options = [Option("", "", read_file("train").keys)]
    rows: dict[tuple[str, str, str], Row] = {}
    for option in options:
        for key, said, allowed in _list_keys(group, option):
            row = Row(key, said.meaning, allowed, False)
            rows.setdefault((key, said.meaning, allowed), row).defaults[option.word] = said.value
    everywhere = len(options)
    return [Row(r.key, r.meaning, r.allowed, len(r.defaults) == everywhere, r.defaults) for r in rows.values()]


def _list_keys(group: str, option: Option) -> Iterator[tuple[str, Said, str]]:
    """Each key of an option, what its file says of it, and what it may be."""
    schema = find_schema(find_annotation(group), option.word)
    prefix = f"{group.replace('/', '.')}." if group else ""
    place = f"conf/{group}/{option.word}.yaml" if option.word else "conf/train.yaml"
    for key, said in option.keys.items():
        name = key.removeprefix(prefix)
        if not key.startswith(prefix) or "." in name or name in _UNTYPED and option.word:
            continue
        if group == TOP and (name in ("defaults", "hydra") or isinstance(said.value, dict)):
            continue
        if name not in schema.model_fields:
            raise SystemExit(f"error: {place}: the schema has no {key}")
        allowed = describe_field(schema.model_fields[name])
        if not has_meaning(said.meaning, allowed):
            raise SystemExit(f"error: {place}: {key} has no meaning; say in a comment behind it what it is")
        yield key, said, allowed


def has_meaning(comment: str, allowed: str) -> bool:
    """Whether a comment says more than what is allowed: some word of its own."""
    words = {*re.findall(r"[a-z]\w+", allowed.lower()), "null"}
    return any(word not in words for word in re.findall(r"[a-z]\w+", comment.lower()))


def is_to_be_typed(schema: type[BaseModel], name: str, value: Any) -> bool:
    """Whether a default value is an empty text that the schema refuses."""
    if value != "":
        return False
    try:
        schema.__pydantic_validator__.validate_assignment(schema.model_construct(), name, value)
    except ValueError as error:
        return any(found["loc"][:1] == (name,) for found in error.errors())  # type: ignore[attr-defined]
    return False


def resolve(values: Mapping[str, Any]) -> Any:
    """Plain values of OmegaConf, for a default that is written as `${...}`."""
    return OmegaConf.to_container(OmegaConf.create(dict(values)))
