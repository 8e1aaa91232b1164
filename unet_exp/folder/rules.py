"""How the files of a user are read: what the config says of their pixels and of the values in their masks."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from unet_exp.config import IGNORE_LABEL, ClassSpec
from unet_exp.config.user_data import Axis, FolderConfig, Inexact, NoData, UserDataConfig
from unet_exp.folder.drawing import Drawing
from unet_exp.folder.origin import Item, Pages
from unet_exp.folder.pages import PairPage, take_channels
from unet_exp.io.arrays import Array
from unet_exp.io.scene import Reading
from unet_exp.samples.classes import decode, object_ids, picture_color, stored_value
from unet_exp.samples.inexact import snap
from unet_exp.samples.sample import Sample
from unet_exp.weight_map import find_instances, open_touching

ANY_LABEL = "*"
"""In `Rules.labels`: every label that is not named."""


class Rules(NamedTuple):
    """How files are read.

    Attributes:
        nodata: see `unet_exp.io.images.read_scenes`.
        objects: whether each object of a mask has a number or colour of its own.
        classes: of masks; masks that are drawn from annotations hold the first value of each.
        ignored: numbers and colours of ignored pixels in masks.
        labels: of annotations, the index of the class of each, or `ANY_LABEL`; empty where more than two classes have
            values alone. What has another label has no class. With objects: 1 for those that are objects, all others
            are background; None: all are objects.
        ignored_labels: whose pixels are ignored: they are not valid where masks are drawn.
        inexact: what becomes of pixels of masks whose value no class has, see `unet_exp.samples.inexact.snap`.
        axes: see `unet_exp.io.scene.Reading`.
        slice_axis: likewise.
    """

    nodata: NoData
    objects: bool
    classes: tuple[ClassSpec, ...]
    ignored: tuple[int | list[int], ...] = ()
    labels: Mapping[str, int] | None = None
    ignored_labels: tuple[str, ...] = ()
    inexact: Inexact = "error"
    axes: str | None = None
    slice_axis: Axis = "z"

    @classmethod
    def of(cls, config: UserDataConfig) -> Self:
        """The rules of a config."""
        files = config if isinstance(config, FolderConfig) else None
        return cls(
            files.nodata if files else "declared",
            config.labels == "instances",
            class_specs(config),
            config.ignored_values,
            find_labels(config),
            config.ignored_labels,
            config.inexact,
            files.axes if files else None,
            files.slice_axis if files else "z",
        )

    @property
    def indices(self) -> bool:
        """Whether the indices of masks with a palette are the values, not its colours."""
        return self.objects or isinstance(self.classes[0].value, int)

    @property
    def class_values(self) -> list[int]:
        """The grey values of classes: they mean something though a mask's file declares one as nodata."""
        if self.objects:
            return [0]
        values = [stored_value(value) for spec in self.classes for value in spec.values]
        return [value for value in values if isinstance(value, int)]

    @property
    def of_masks(self) -> Reading:
        """What is wanted of the pixels of masks."""
        nodata: NoData = None if self.nodata is None else "declared"
        return self.of_images._replace(
            nodata=nodata, label=True, indices=self.indices, classes=tuple(self.class_values)
        )

    @property
    def of_pixels(self) -> str:
        """What decides which pixels and values are read, before the values are classes: a text to compare.

        `class_values` matter too, where masks declare one of them as nodata.
        """
        words: list[Any] = [self.nodata, self.objects, self.indices, self._ignore if self.objects else None]
        if self.ignored_labels or any(label != ANY_LABEL for label in self.labels or ()):
            words.append({"labels": self.labels, "ignored": self.ignored_labels})
        if self.inexact != "error":
            words.append({self.inexact: [spec.values for spec in self.classes], "ignored": self.ignored})
        if self.axes is not None or self.slice_axis != "z":
            words.append({"axes": self.axes, "slices": self.slice_axis})
        return json.dumps(words, sort_keys=True)

    @property
    def of_labels(self) -> str:
        """What decides what the values of masks mean, in addition."""
        words: list[Any] = [self.objects, [spec.value for spec in self.classes], self._ignore]
        if any(spec.also for spec in self.classes):
            words.append([spec.also for spec in self.classes])
        return json.dumps(words)

    @property
    def _ignore(self) -> Any:
        """As configs of one ignored value have it: fingerprints of earlier runs are made of that."""
        return self.ignored if len(self.ignored) > 1 else next(iter(self.ignored), None)

    @property
    def of_images(self) -> Reading:
        """What is wanted of the pixels of images."""
        return Reading(self.nodata, axes=self.axes, slice_axis=self.slice_axis)

    @property
    def drawing(self) -> Drawing:
        """How masks are drawn."""
        reading, halves = Reading(label=True, axes=self.axes, slice_axis=self.slice_axis), self.inexact != "error"
        if self.objects:
            objects = None if self.labels is None else tuple(label for label, index in self.labels.items() if index)
            return Drawing(None, self.ignored_labels, objects=objects, reading=reading, halves=halves)
        values = tuple(spec.value for spec in self.classes)
        return Drawing(self.labels or {}, self.ignored_labels, values, reading=reading, halves=halves)

    def read(self, item: Item) -> Pages:
        """Opens the pages of an item."""
        return item.open(self)

    def read_page(self, item: Item, page: int) -> PairPage:
        """Reads a page of an item."""
        with self.read(item) as pages:
            return pages[page]

    def finish(self, page: PairPage, path: str) -> PairPage:
        """Gives pixels of a mask, or of a part of one, whose value no class has the value of a class.

        Args:
            page: as it is stored or drawn.
            path: of the mask.

        Raises:
            DataError: see `unet_exp.samples.inexact.snap`.
        """
        if page.mask is None or self.inexact == "error":
            return page
        mask, changed = snap(page.mask, self.classes, self.ignored, self.inexact, path, page.labelled)
        return page._replace(mask=mask, changed=changed)

    def label(self, mask: Array, path: str, valid: Array | None) -> tuple[Array, Array | None]:
        """Turns the pixels of a mask (H, W, C), or of a part of one, into class indices and, if it has any, objects.

        Returns:
            (H, W) uint8, and (H, W) int32 or None. With objects the label is class 1 on them, and class 0 also on a
            line between objects that touch; the objects are as drawn.

        Raises:
            DataError: see `decode` and `object_ids`.
        """
        if not self.objects:
            return decode(mask, self.classes, path, self.ignored, valid), None
        instances, ignored = object_ids(mask, path, self.ignored, valid)
        label = np.where(ignored, np.uint8(IGNORE_LABEL), (instances > 0).astype(np.uint8))
        return open_touching(label, instances)[0], instances

    def sample(self, name: str, page: PairPage, path: str, channels: int, find_objects: bool) -> Sample:
        """Makes a sample of a page.

        Args:
            name: of the sample.
            page: as read.
            path: of its mask.
            channels: how many of its first ones are used.
            find_objects: whether a label without objects gets those that `find_instances` finds.

        Raises:
            DataError: see `label`.
        """
        image, valid, _ = page.scene
        label = instances = None
        if page.mask is not None:
            label, instances = self.label(page.mask, path, page.labelled)
            if find_objects and instances is None:
                instances = find_instances(label)
        return Sample(name, take_channels(image, channels), label, instances, valid)


def class_specs(config: UserDataConfig) -> tuple[ClassSpec, ...]:
    """The classes of a config, each with a colour for pictures; of classes with labels the value is the index."""
    specs = []
    for index, spec in enumerate(config.classes):
        values = [value for value in spec.values if not isinstance(value, str)]
        value, also = (index, []) if config.draws else (values[0], values[1:])
        default = picture_color(index) if isinstance(value, int) else value
        specs.append(ClassSpec(name=spec.name, value=value, color=spec.color or default, also=also))
    return tuple(specs)


def find_labels(config: UserDataConfig) -> dict[str, int] | None:
    """The index of the class of each label; see `Rules`."""
    named = {
        value: index for index, spec in enumerate(config.classes) for value in spec.values if isinstance(value, str)
    }
    if named or config.labels == "instances":
        return named or None
    return {ANY_LABEL: 1} if len(config.classes) == 2 else {}
