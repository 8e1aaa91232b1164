"""Config of a user's own data: where they are, how they are read, what the values in masks mean, how they are split."""

import os
import re
import unicodedata
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from unet_exp.config.patches import PatchConfig
from unet_exp.config.values import Color, Fraction, Grey, ImportPath, OfSeveralValues, Positive, WholeNumber


def check_axes(axes: str) -> str:
    """Checks the axes of an array.

    Raises:
        ValueError: for others than some of `tczyx`, each once, y and x among them.
    """
    if not set(axes) <= set("tczyx") or len(set(axes)) < len(axes) or not {"y", "x"} <= set(axes):
        raise ValueError("must be letters among t, c, z, y and x, each once, y and x among them, such as zyx or yxc")
    return axes


NoData = Literal["declared"] | float | None
"""Which pixels are without data: those that their file declares, those of a value, or none."""
Axis = Literal["z", "y", "x"]
"""Of a volume."""
Axes = Annotated[str, AfterValidator(check_axes), Field(description="letters such as `zyx` · `yxc`")]
"""Of an array, the slowest first, such as `zyx` or `yxc`."""
Inexact = Literal["error", "nearest", "threshold"]
"""What becomes of pixels of masks whose value no class has."""

MAX_CLASSES = 254  # labels are bytes; 255 is ignored, and the table of a mask has 0 for unknown values
_BACKGROUND = {"name": "background", "value": 0}
_DEFAULT_CLASSES = [_BACKGROUND, {"name": "foreground", "value": 255}]

Spec = Annotated[str, Field(min_length=1, description="folder, glob or file")]
"""A folder, a glob or a file."""
Folder = Annotated[str, Field(min_length=1, description="folder")]
Label = Annotated[str, Field(min_length=1, description="label"), AfterValidator(partial(unicodedata.normalize, "NFC"))]
"""What an annotation calls an object: the name of a COCO category, the label of a LabelMe shape.

Each accented letter is one code: some programs write two.
"""


class FolderClass(OfSeveralValues):
    """A class of the user's own masks.

    With `labels=instances` the second class may have labels: only what they call is an object, and what has another
    label is background. Without labels everything that is annotated is an object.

    Attributes:
        name: in tables and pictures.
        value: its grey value or RGB colour in masks, or its label in annotations.
        also: other values or labels that mean it too; of a background of value 0, the labels of what belongs to it.
            Predicted masks hold `value`.
        color: in pictures.
    """

    name: Annotated[str, Field(pattern=r"^[^/\s][^/\n]{0,59}$")]
    value: Grey | Color | Label
    also: list[Grey] | list[Color] | list[Label] = Field(default_factory=list)
    color: Color | None = None

    @property
    def values(self) -> list[int | list[int] | str]:
        """All of them."""
        return [self.value, *self.also]


class UserDataConfig(PatchConfig):
    """A user's own data, in files or from a reader of the user's.

    Attributes:
        labels: what masks hold.
        classes: their values. Where they are labels of annotations, a mask is drawn with the index of each class.
        ignore: value, colour or label of ignored pixels, or a list of such.
        split: how images are divided.
        val: share of the images.
        test: likewise.
        lists: folder of train.txt, val.txt and, perhaps, test.txt.
        group: what stays in one split.
        cache: where decoded images are kept.
        max_memory: GB that they may take in memory.
        verify: whether every image is read anew.
        inexact: what becomes of pixels of masks whose value no class has.
    """

    labels: Literal["classes", "instances"]
    classes: list[FolderClass]
    ignore: Annotated[
        WholeNumber | Label | list[WholeNumber | Color | Label] | None,
        Field(description="value · `[red, green, blue]` · label · list of such · `null`"),
    ]
    split: Literal["fractions", "folders", "lists"]
    val: Fraction
    test: Fraction
    lists: Folder | None
    group: Annotated[str, Field(min_length=1)]
    cache: Literal["auto", "memory", "disk", "none"] = "auto"  # where images are kept changes no number
    max_memory: Positive | None
    verify: bool = False
    inexact: Inexact = "error"  # for earlier runs, which lack it

    @property
    def draws(self) -> bool:
        """Whether masks are drawn, with the index of each class: classes have labels, not values."""
        return any(isinstance(spec.value, str) for spec in self.classes)

    @property
    def ignored(self) -> tuple[int | list[int] | str, ...]:
        """The values, colours and labels of ignored pixels.

        Three numbers are a colour, unless classes have grey values: then they are three values.
        """
        ignore = self.ignore
        if ignore is None:
            return ()
        if not isinstance(ignore, list):
            return (ignore,)
        whole = len(ignore) == 3 and all(isinstance(part, int) for part in ignore)
        grey = self.labels == "classes" and isinstance(self.classes[0].value, int)
        return (ignore,) if whole and not grey else tuple(ignore)  # type: ignore[return-value]

    @property
    def ignored_values(self) -> tuple[int | list[int], ...]:
        """The values and colours of ignored pixels."""
        return tuple(value for value in self.ignored if not isinstance(value, str))

    @property
    def ignored_labels(self) -> tuple[str, ...]:
        """The labels of ignored objects."""
        return tuple(label for label in self.ignored if isinstance(label, str))

    @property
    def lists_folder(self) -> str | None:
        """The folder of the lists."""
        return None if self.lists is None else os.path.expanduser(self.lists)

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
                    "value": "its value must be a grey value 0..65535, a colour [red, green, blue] or, of annotations, "
                    "a label",
                    "also": "its also must be a list of more values, of the kind of its value",
                    "color": "its color must be a colour [red, green, blue], each 0..255, or be left out",
                }.get(key, "its keys must be name, value and, perhaps, also and color")
                raise ValueError(f"data.classes, entry {number} {entry}: {wish}") from None
        return classes

    @model_validator(mode="after")
    def _check_classes(self) -> "UserDataConfig":
        names = [spec.name for spec in self.classes]
        if not 2 <= len(names) <= MAX_CLASSES:
            raise ValueError(f"data.classes: {len(names)} classes; give 2 to {MAX_CLASSES}, the background among them")
        if "mean" in names:
            raise ValueError("data.classes: the name mean is that of the mean of all classes; take another")
        values = [value for spec in self.classes for value in spec.values]
        for key, found in (("name", names), ("value", values)):
            twice = [value for place, value in enumerate(found) if value in found[:place]]
            if twice:
                raise ValueError(f"data.classes: the {key} {twice[0]} is given twice; give each class one of its own")
        self._check_kinds(values)
        taken = [0, [0, 0, 0]] if self.labels == "instances" else values
        for ignored in self.ignored:
            if ignored in taken:
                raise ValueError(f"data.ignore={ignored} is the value of a class too; give each a value of its own")
            if isinstance(ignored, list) and not all(0 <= channel <= 255 for channel in ignored):
                raise ValueError(f"data.ignore={ignored} is no colour [red, green, blue], each 0..255")
        return self

    def _check_kinds(self, values: Sequence[int | list[int] | str]) -> None:
        """Checks that values are all grey, all colours or all labels, but for the background of labels."""
        kinds = {type(value) for value in values}
        if kinds == {int, str} and self.classes[0].value == 0:
            kinds = {type(value) for value in values[1:]}  # what no annotation covers
        if len(kinds) > 1:
            raise ValueError(
                "data.classes: some values are grey, some are colours or labels; give all of one kind (beside labels "
                "the background, first, has the value 0 and, perhaps, labels as also)"
            )
        if self.labels == "instances":
            self._check_objects(kinds)
        for ignored in self.ignored:
            if self.draws and not isinstance(ignored, str):
                raise ValueError(f"data.ignore={ignored} is a value and data.classes have labels; give a label")
            if self.labels == "instances":
                continue
            if isinstance(ignored, list) and kinds == {int}:
                raise ValueError(f"data.ignore={ignored} is a colour and data.classes have grey values; give a value")
            if isinstance(ignored, str) and kinds != {str} and len(self.classes) > 2:
                raise ValueError(f"data.ignore={ignored} is a label and data.classes have values; give a value")

    def _check_objects(self, kinds: set[type]) -> None:
        if len(self.classes) != 2 or kinds == {list}:
            raise ValueError(
                "data.labels=instances needs two data.classes with grey values, the background and then the objects"
            )
        if kinds == {int} and any(spec.also for spec in self.classes):
            raise ValueError(
                "data.classes: with data.labels=instances each object has a value of its own, and also= means nothing; "
                "leave it out"
            )

    @model_validator(mode="after")
    def _check_inexact(self) -> "UserDataConfig":
        if self.inexact == "threshold" and (len(self.classes) != 2 or not isinstance(self.classes[1].value, int)):
            raise ValueError(
                "data.inexact=threshold divides the greys of two data.classes; of others take data.inexact=nearest"
            )
        if self.inexact != "error" and self.labels == "instances":
            raise ValueError(
                f"data.inexact={self.inexact} finds the value of a class, and with data.labels=instances each object "
                "has one of its own; leave one of the two out"
            )
        return self

    @model_validator(mode="after")
    def _check_user_split(self) -> "UserDataConfig":
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


class FolderConfig(UserDataConfig):
    """A user's own files.

    Attributes:
        root: folder below which the others are looked for; None: the current one.
        images: a folder, a glob or a file; a list of such: its channels, in this order, from several files.
        masks: likewise one; a mapping from labels to such: one file a class.
        mask_suffix: what the names of masks have more at their end.
        without_mask: what becomes of images without a mask.
        nodata: which pixels are without data.
        field_of_view: masks of it.
        axes: of arrays whose files do not say; None: by their shape.
        slice_axis: volumes are stacks of slices along it.
    """

    name: Literal["folder"]
    root: Folder | None = None
    images: Spec | list[Spec]
    masks: Spec | dict[Label, Spec]
    mask_suffix: str
    without_mask: Literal["error", "unlabelled"]
    nodata: NoData = None  # for earlier runs, as the keys below; conf/ has another default
    field_of_view: Spec | None = None
    axes: Axes | None = None
    slice_axis: Axis = "z"

    @property
    def image_specs(self) -> tuple[str, ...]:
        """The files of each group of channels, below `root`."""
        return tuple(self._join(spec) for spec in ([self.images] if isinstance(self.images, str) else self.images))

    @property
    def mask_specs(self) -> dict[str, str]:
        """The files of masks, below `root`, by the label of their class; `""` where one file holds all."""
        masks = {"": self.masks} if isinstance(self.masks, str) else self.masks
        return {label: self._join(spec) for label, spec in masks.items()}

    @property
    def view_spec(self) -> str | None:
        """The files of the field of view, below `root`."""
        return None if self.field_of_view is None else self._join(self.field_of_view)

    @property
    def lists_folder(self) -> str | None:
        """The folder of the lists, below `root`."""
        return None if self.lists is None else self._join(self.lists)

    def _join(self, spec: str) -> str:
        spec = os.path.expanduser(spec)
        return spec if self.root is None else os.path.join(os.path.expanduser(self.root), spec)

    @field_validator("images", mode="before")
    @classmethod
    def _check_images(cls, value: Any) -> Any:
        if _are_texts([value]) or (isinstance(value, list) and _are_texts(value)):
            return value
        raise ValueError("must be a folder, a glob or a file, or a list of such, whose files hold the channels")

    @field_validator("masks", mode="before")
    @classmethod
    def _check_masks(cls, value: Any) -> Any:
        if _are_texts([value]) or (isinstance(value, dict) and _are_texts([*value, *value.values()])):
            return value
        raise ValueError(
            "must be a folder, a glob or a file or, for one file a class, such as {lesion: '*_lesion.png', vessel: "
            "'*_vessel.png'}"
        )

    @field_validator("nodata", mode="before")
    @classmethod
    def _check_nodata(cls, value: Any) -> Any:
        if value is None or value == "declared" or type(value) in (int, float):
            return value
        raise ValueError("must be declared, a number, or null for none")

    @model_validator(mode="before")
    @classmethod
    def _name_classes(cls, values: Any) -> Any:
        """One file a class: these are the classes, where none are named."""
        if not isinstance(values, dict) or not isinstance(values.get("masks"), dict):
            return values
        if values.get("classes") != _DEFAULT_CLASSES:
            return values
        ignore = values.get("ignore")
        ignored = ignore if isinstance(ignore, list) else [ignore]
        named = [{"name": label, "value": label} for label in values["masks"] if label not in ignored]
        return {**values, "classes": [_BACKGROUND, *named]}

    @model_validator(mode="after")
    def _check_files(self) -> "FolderConfig":
        if isinstance(self.masks, dict):
            known = [*(value for spec in self.classes for value in spec.values), *self.ignored]
            missing = [label for label in self.masks if label not in known]
            if missing and self.labels == "classes":
                raise ValueError(f"data.masks: {missing[0]} is the value of no entry in data.classes; add it there")
            bare = [spec for spec in self.classes[1:] if not {*map(str, spec.values)} & self.masks.keys()]
            if bare and self.labels == "classes":
                raise ValueError(
                    f"data.masks: has no files of {bare[0].value}, which data.classes has; add '{bare[0].value}: "
                    "<glob>', or take the class out"
                )
        return self


def _are_texts(values: Sequence[Any]) -> bool:
    return bool(values) and all(isinstance(value, str) and value for value in values)


class CustomDataConfig(UserDataConfig):
    """A reader of the user's own.

    Attributes:
        target: `package.module.Name`, see `unet_exp.folder.reader.Reader`.
        params: keyword arguments; null for none.
    """

    name: Literal["custom"]
    target: ImportPath
    params: dict[str, Any] | None

    @model_validator(mode="after")
    def _check_values(self) -> "CustomDataConfig":
        if self.ignored_labels or any(isinstance(value, str) for spec in self.classes for value in spec.values):
            raise ValueError(
                "data.classes, data.ignore: labels are of annotations, and data=custom reads masks; give the values "
                "that they hold"
            )
        return self
