"""Config of the data: images, splits and patches."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from unet_exp.config.values import Color, Count, Fraction, Grey, Natural, Positive, Share, WholeNumber
from unet_exp.schema import Strict

NoData = Literal["declared"] | float | None
"""Which pixels are without data: those that their file declares, those of a value, or none."""


class _DataConfig(Strict):
    tile: Count
    batch_size: Count
    num_workers: Natural
    tiles_per_epoch: Count | None
    sampling: Literal["area", "image"] = "image"  # as earlier runs, which lack it, drew; conf/ has the default
    foreground_share: Share = 0.0  # for earlier runs, which lack it
    patches_in_a_row: Count = 1  # likewise
    normalization: Literal["image", "dataset", "none"]
    fold: Natural
    folds: Natural

    @model_validator(mode="after")
    def _check_fold(self) -> "_DataConfig":
        if self.folds in (1, 2):
            raise ValueError("data.folds must be 0 (the standard split) or at least 3 (train, validate, test)")
        if self.folds and self.fold >= self.folds:
            raise ValueError(f"data.fold={self.fold} must be less than data.folds={self.folds}")
        if not self.folds and self.fold:
            raise ValueError(f"data.fold={self.fold} needs data.folds (3 or more)")
        return self


class SyntheticConfig(_DataConfig):
    """Generated micrographs."""

    name: Literal["synthetic"]
    seed: Natural
    height: Annotated[int, Field(ge=32)]
    width: Annotated[int, Field(ge=32)]
    train_images: Count
    val_images: Count
    test_images: Count
    organelles: bool


class _BenchmarkConfig(_DataConfig):
    root: str
    download: bool
    split: Literal["held_out", "all", "held_out_v1", "all_v1"]

    @model_validator(mode="after")
    def _check_split(self) -> Self:
        if self.split in ("all", "all_v1") and self.folds:
            raise ValueError(f"data.split={self.split} trains on every image and has no folds: leave data.folds at 0")
        return self


class ISBI2012Config(_BenchmarkConfig):
    """The electron-microscopy stack of the ISBI 2012 challenge."""

    name: Literal["isbi2012"]
    split: Literal["held_out", "all"]


class CellTrackingConfig(_BenchmarkConfig):
    """Partly annotated frames of the Cell Tracking Challenge."""

    name: Literal["phc_u373", "dic_hela"]


class U373Config(CellTrackingConfig):
    """PhC-C2DH-U373."""

    name: Literal["phc_u373"]
    split: Literal["held_out", "all"]


class HeLaConfig(CellTrackingConfig):
    """DIC-C2DH-HeLa.

    Attributes:
        split: the versions `..._v1` validate on a frame that is hardly annotated.
        split_version: no choice; the configs of earlier runs lack it, and mean those versions.
    """

    name: Literal["dic_hela"]
    split_version: Literal[2]

    @model_validator(mode="before")
    @classmethod
    def _name_earlier_split(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "split_version" in values:
            return values
        split = values.get("split")
        return {**values, "split": f"{split}_v1" if split in ("held_out", "all") else split, "split_version": 2}


MAX_CLASSES = 254  # labels are bytes; 255 is ignored, and the table of a mask has 0 for unknown values


class FolderClass(Strict):
    """A class of the user's own masks: its name, its grey value or RGB colour there, and its colour in pictures."""

    name: Annotated[str, Field(pattern=r"^[^/\s][^/\n]{0,59}$")]
    value: Grey | Color
    color: Color | None = None


class FolderConfig(_DataConfig):
    """A user's own images and masks."""

    name: Literal["folder"]
    images: Annotated[str, Field(min_length=1)]
    masks: Annotated[str, Field(min_length=1)]
    mask_suffix: str
    without_mask: Literal["error", "unlabelled"]
    labels: Literal["classes", "instances"]
    classes: list[FolderClass]
    ignore: WholeNumber | Color | None
    nodata: NoData = None  # for earlier runs, which lack it; conf/ has the default
    field_of_view: Annotated[str, Field(min_length=1)] | None = None
    split: Literal["fractions", "folders", "lists"]
    val: Fraction
    test: Fraction
    lists: Annotated[str, Field(min_length=1)] | None
    group: Annotated[str, Field(min_length=1)]
    cache: Literal["auto", "memory", "disk", "none"] = "auto"  # where images are kept changes no number
    max_memory: Positive | None
    verify: bool = False

    @field_validator("nodata", mode="before")
    @classmethod
    def _check_nodata(cls, value: Any) -> Any:
        if value is None or value == "declared" or type(value) in (int, float):
            return value
        raise ValueError("must be declared, a number, or null for none")

    @field_validator("classes", mode="before")
    @classmethod
    def _check_each_class(cls, classes: Any) -> Any:
        """Names the entry of a mistake, which pydantic would not."""
        if not isinstance(classes, list):
            raise ValueError("must be a list such as [{name: background, value: 0}, {name: cell, value: 255}]")
        for number, entry in enumerate(classes, start=1):
            try:
                FolderClass.model_validate(entry)
            except ValidationError as error:
                first = error.errors()[0]
                key = str(first["loc"][0]) if first["loc"] else ""
                wish = {
                    "name": "its name must be a text of up to 60 characters without /",
                    "value": "its value must be a grey value 0..65535 or a colour [red, green, blue]",
                    "color": "its color must be a colour [red, green, blue], each 0..255, or be left out",
                }.get(key, "its keys must be name, value and, perhaps, color")
                raise ValueError(f"data.classes, entry {number} {entry}: {wish}") from None
        return classes

    @model_validator(mode="after")
    def _check_classes(self) -> "FolderConfig":
        names, values = ([getattr(spec, key) for spec in self.classes] for key in ("name", "value"))
        if not 2 <= len(names) <= MAX_CLASSES:
            raise ValueError(f"data.classes: {len(names)} classes; give 2 to {MAX_CLASSES}, the background among them")
        for key, found in (("name", names), ("value", values)):
            twice = [value for place, value in enumerate(found) if value in found[:place]]
            if twice:
                raise ValueError(f"data.classes: the {key} {twice[0]} is given twice; give each class one of its own")
        if "mean" in names:
            raise ValueError("data.classes: the name mean is that of the mean of all classes; take another")
        kinds = {type(value) for value in values}
        if len(kinds) > 1:
            raise ValueError("data.classes: some values are grey and some are colours; give all of one kind")
        taken = [0, [0, 0, 0]] if self.labels == "instances" else values
        if self.ignore in taken:
            raise ValueError(f"data.ignore={self.ignore} is the value of a class too; give each a value of its own")
        if self.labels == "instances":
            if len(names) != 2 or kinds != {int}:
                raise ValueError(
                    "data.labels=instances needs two data.classes with grey values, the background and then the objects"
                )
        elif isinstance(self.ignore, list) and kinds == {int}:
            raise ValueError(f"data.ignore={self.ignore} is a colour and data.classes have grey values; give a value")
        return self

    @model_validator(mode="after")
    def _check_folder_split(self) -> "FolderConfig":
        if self.folds and self.split != "fractions":
            raise ValueError(f"data.folds={self.folds} and data.split={self.split} are two splits: give one of them")
        if self.split == "fractions" and (not self.val or self.val + self.test >= 1):
            raise ValueError(
                f"data.val={self.val} data.test={self.test}: data.val must be more than 0 and both less than 1 together"
            )
        if (self.lists is not None) != (self.split == "lists"):
            raise ValueError("data.split=lists and data.lists=<folder with train.txt, val.txt> go together")
        try:
            re.compile(self.group)
        except re.error as error:
            raise ValueError(f"data.group={self.group!r}: is no regular expression ({error})") from None
        return self


DataConfig = Annotated[
    SyntheticConfig | ISBI2012Config | U373Config | HeLaConfig | FolderConfig, Field(discriminator="name")
]
