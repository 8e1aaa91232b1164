"""Types of values that several groups share."""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from unet_exp.schema import Strict

IGNORE_LABEL = 255
"""Label of a pixel that no loss and no metric counts."""

Grey = Annotated[int, Field(ge=0, le=65535)]
WholeNumber = Annotated[int, Field(ge=-(2**63), lt=2**63, description="integer")]
Channel = Annotated[int, Field(ge=0, le=255)]
Color = Annotated[list[Channel], Field(min_length=3, max_length=3)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
# A description is what docs/configuration.md says to be allowed, in place of type and limits.
PathName = Annotated[str, Field(description="path")]
Duration = Annotated[str | int, Field(description="a time: `240` (seconds) · `4m` · `1h30m` · `00:00:04:00`")]


class OfSeveralValues(Strict):
    """What has a list `also` of more values; an empty one is left out in files, as it stood there before it existed."""

    @model_serializer(mode="wrap")
    def _omit_none(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        plain: dict[str, Any] = dump(self)
        return {key: value for key, value in plain.items() if key != "also" or value}


class ClassSpec(OfSeveralValues):
    """One class.

    Attributes:
        name: in tables and pictures.
        value: the grey value or RGB colour that it has in label files.
        color: in pictures.
        also: other values in label files that mean it too.
    """

    name: str
    value: Grey | Color
    color: Color
    also: list[Grey | Color] = Field(default_factory=list)

    @property
    def values(self) -> list[int | list[int]]:
        """All of them."""
        return [self.value, *self.also]


_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


def duration_seconds(text: str | int) -> int:
    """Seconds in `240`, `"4m"`, `"1h30m"`, `"2d"` or Lightning's `"DD:HH:MM:SS"`.

    Raises:
        ValueError: for anything else, and for 0.
    """
    if isinstance(text, int):
        seconds = text
    elif match := _DURATION.fullmatch(text) or re.fullmatch(r"(\d+):(\d+):(\d+):(\d+)", text):
        days, hours, minutes, rest = (int(part or 0) for part in match.groups())
        seconds = ((days * 24 + hours) * 60 + minutes) * 60 + rest
    else:
        seconds = 0
    if seconds <= 0:
        raise ValueError("must be a time such as 240 (seconds), 4m, 1h30m or 00:00:04:00")
    return seconds


def _check_import_path(target: str) -> str:
    parts = target.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise ValueError("must be a class's import path, such as their_package.module.TheirClass")
    return target


ImportPath = Annotated[str, AfterValidator(_check_import_path), Field(description="`package.module.Name`")]
"""`package.module.Name`."""


def require_items(
    key: str, example: str, needs: Mapping[str, str], suggest: Callable[[object], str] = lambda _: ""
) -> BeforeValidator:
    """Checks the form of a list of `{...}`, with an example in its messages.

    Args:
        key: where it stands, such as `metrics.own`.
        example: of an item.
        needs: keys that each item must have, with what each is.
        suggest: says what a wrong item may mean; empty where that is not known.
    """

    def check(value: Any) -> Any:
        if not isinstance(value, list):
            raise ValueError(f"{key}={value!r}: must be a list, such as [{example}]")
        for place, item in enumerate(value):
            where = f"{key}[{place}]"
            if not isinstance(item, dict | BaseModel):
                raise ValueError(f"{where}={item!r}: must be {example}{suggest(item)}")
            missing = next((name for name in needs if isinstance(item, dict) and name not in item), None)
            if missing is not None:
                raise ValueError(f"the key {where}.{missing} is missing ({needs[missing]}); write {example}")
        return value

    return BeforeValidator(check)
