"""The rows of the tables: each key with its meaning, its default value in each option, and what it may be."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from reference.allowed import describe_field, find_schema
from reference.comments import Option, read_file, read_option
from unet_exp.config import Config
from unet_exp.config.multirun import SearchConfig, SlurmConfig, SweepConfig
from unet_exp.config_files import SHARED
from unet_exp.files import conf_dir

TOP = ""
"""What stands for the group of the keys that are in none, and for the option of a group that has none."""
LAUNCHER = "hydra/launcher"
_OTHERS = {TOP: Config, "search": SearchConfig, "sweep": SweepConfig, LAUNCHER: SlurmConfig}
"""What is no part of the schema of a training."""
_UNTYPED = ("name", "_target_")
"""Keys that the word of an option sets."""


@dataclass(frozen=True)
class Row:
    """A key.

    Attributes:
        key: as it is typed, such as `loss.gamma`.
        meaning: what it is, in plain text.
        allowed: what it may be, in Markdown.
        required: whether the default is no value that it may have.
        defaults: by the options that have the key with this meaning; where there are no options, by `TOP`.
        everywhere: whether these are all options of the group.
    """

    key: str
    meaning: str
    allowed: str
    required: bool
    defaults: dict[str, Any]
    everywhere: bool = True


def has_options(group: str) -> bool:
    """Whether a group is a folder of `conf/`, or else keys in its main file."""
    return group != TOP and (conf_dir() / group).is_dir()


def list_options(group: str) -> list[Option]:
    """The options of a group in `conf/`, its default first, classes of the user's own last.

    Raises:
        SystemExit: in one line, if one does not say what it is.
    """
    default = find_default(group)
    words = [path.stem for path in (conf_dir() / group).glob("*.yaml") if not path.stem.startswith(SHARED)]
    words.sort(key=lambda word: (word != default, word == "custom", word))
    options = [read_option(group, word) for word in words]
    for option in options:
        if not option.about:
            raise SystemExit(f"error: conf/{group}/{option.word}.yaml: begin it with a comment that says what it is")
    return options


def find_default(group: str) -> Any:
    """The option of a group that is chosen where none is typed; None for none."""
    chosen = (entry for entry in read_file("train").defaults if isinstance(entry, dict))
    return next((entry[group] for entry in chosen if group in entry), None)


def find_annotation(group: str) -> Any:
    """The type that the schema has for the keys of a group: a schema, or a union of those of its options."""
    return _OTHERS[group] if group in _OTHERS else Config.model_fields[group].annotation


def list_rows(group: str) -> list[Row]:
    """The keys of a group, or of none, in the order of their files.

    Raises:
        SystemExit: in one line, for a key without a meaning, or one that the schema does not have.
    """
    options = list_options(group) if has_options(group) else [Option(TOP, "", read_file("train").keys)]
    rows: dict[tuple[str, str, str, bool], Row] = {}
    for option in options:
        for row in _read_rows(group, option):
            # A key that has another meaning in some options has a row for each.
            rows.setdefault((row.key, row.meaning, row.allowed, row.required), row).defaults.update(row.defaults)
    return [replace(row, everywhere=len(row.defaults) == len(options)) for row in rows.values()]


def _read_rows(group: str, option: Option) -> Iterator[Row]:
    schema = find_schema(find_annotation(group), option.word)
    prefix = f"{group.replace('/', '.')}." if group else ""
    place = f"conf/{group}/{option.word}.yaml" if option.word else "conf/train.yaml"
    for key, said in option.keys.items():
        name = key.removeprefix(prefix)
        is_group = group == TOP and isinstance(said.value, dict)
        if not key.startswith(prefix) or "." in name or is_group or (option.word and name in _UNTYPED):
            continue
        if name not in schema.model_fields:
            raise SystemExit(f"error: {place}: the schema has no {key}")
        yield make_row(
            key, said.meaning, schema.model_fields[name], {option.word: _leave_out_variable(said.value)}, place
        )


def _leave_out_variable(value: Any) -> Any:
    """What holds where a variable of W&B is not set: of `${wandb:PROJECT,unet-exp}` the project."""
    if value == "${wandb_list:TAGS}":
        return []
    found = re.fullmatch(r"\$\{wandb:\w+(?:,(.*))?\}", value) if isinstance(value, str) else None
    return found[1] if found else value


def make_row(key: str, meaning: str, field: FieldInfo, defaults: dict[str, Any], place: str) -> Row:
    """A row, from what is said of a key and from its field in the schema.

    Raises:
        SystemExit: in one line that begins with `place`, if nothing is said, or nothing but what is allowed.
    """
    allowed = describe_field(field)
    words = {*_list_words(allowed), "null"}
    if words.issuperset(_list_words(meaning)):
        raise SystemExit(f"error: {place}: {key} has no meaning; say behind it what it is")
    required = "" in defaults.values() and not _is_allowed(field, "")
    return Row(key, meaning, allowed, required, defaults)


def _list_words(text: str) -> list[str]:
    return re.findall(r"[a-z]\w+", text.lower())


def _is_allowed(field: FieldInfo, value: object) -> bool:
    kind: Any = Annotated[field.annotation, field]
    try:
        TypeAdapter(kind).validate_python(value, strict=True)
    except ValidationError:
        return False
    return True
