"""A reader of the user's own: an object of a class that a config names gives the images and their masks."""

import hashlib
import inspect
import json
import operator
import os
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from unet_exp.config.user_data import CustomDataConfig
from unet_exp.errors import DataError
from unet_exp.folder.named_files import is_unprintable
from unet_exp.io.arrays import Array
from unet_exp.io.listing import normalize_name
from unet_exp.io.scene import DTYPES, describe_excess
from unet_exp.samples.sample import Region
from unet_exp.user_class import build_custom, check_method, describe_error


class Reader(Protocol):
    """What `data.target` must be; it need not derive from this. H, W and C are an image's height, width and channels.

    It is built with `data.params`, in each process anew. Calls do not overlap within a process. Two more methods may be
    there: `name(index)`, a text that no other image has, with `/` between folders (else it is `0000` and so on); and
    `version(index)`, a number or text that changes whenever what is read does (else an image counts as changed when its
    shape or the file of the class does).
    """

    def __len__(self) -> int:
        """The number of images, in the order in which they are split."""

    def shape(self, index: int) -> tuple[int, int, int]:
        """The size of an image (H, W, C), in pixels, without reading it."""

    def read(
        self, index: int, top: int, left: int, height: int, width: int
    ) -> tuple[NDArray[np.uint8 | np.uint16 | np.float32], NDArray[Any] | None]:
        """Reads a part that lies within an image, or all of it; the same each time.

        Returns:
            (height, width, C) uint8, uint16 or float32, where NaN has no data; and the mask, of any type of whole
            numbers, (height, width) or, of colours, (height, width, 3), or None for an image without one.
        """


class ReadPart(NamedTuple):
    """What was read of an image.

    Attributes:
        image: (H, W, C) uint8, uint16 or float32, in the byte order of any machine; a copy.
        mask: (H, W) or (H, W, 3) whole numbers or booleans; None: the image has none.
    """

    image: Array
    mask: Array | None


class OwnReader:
    """An object of the user's class, built once in each process, and checks of all that it returns.

    Args:
        config: names the class.

    Attributes:
        where: how messages begin.
        itemsize: bytes of a value of its images, by the first one; the most until that is read.
    """

    def __init__(self, config: CustomDataConfig) -> None:
        self.where = f"data.target={config.target}"
        self.itemsize = max(dtype.itemsize for dtype in DTYPES)
        self._target, self._params = config.target, config.params or {}
        self._begin()

    def __getstate__(self) -> dict[str, Any]:
        # Another process builds its own.
        return {key: self.__dict__[key] for key in ("where", "itemsize", "_target", "_params")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()

    @property
    def has_versions(self) -> bool:
        """Whether it says when an image changes."""
        return hasattr(self._find(), "version")

    @property
    def code(self) -> str:
        """A digest of the file of the class; empty where it has none."""
        try:
            return hashlib.sha256(Path(inspect.getfile(type(self._find()))).read_bytes()).hexdigest()
        except (OSError, TypeError):
            return ""

    def list_names(self) -> list[str]:
        """The name of each image.

        Raises:
            DataError: for no images, and names that are no texts, cannot be shown, or are given twice.
        """
        count = self._call("__len__", "len()")
        if not count:
            raise DataError(f"{self.where}: its len() is 0; it must be the number of images")
        if not hasattr(self._find(), "name"):
            return [f"{index:04d}" for index in range(count)]
        names: dict[str, int] = {}
        for index in range(count):
            what = f"name of image {index}"
            name = self._call("name", what, index)
            if not isinstance(name, str) or not name.strip("/. ") or is_unprintable(name):
                raise DataError(f"{self.where}: its {what} must be a text that can be shown, not {name!r:.80}")
            name = normalize_name(name)
            if names.setdefault(name, index) != index:
                raise DataError(
                    f"{self.where}: its name of images {names[name]} and {index} is {name}; give each one of its own"
                )
        return list(names)

    def version(self, index: int, name: str) -> str:
        """A text that changes when an image does.

        Raises:
            DataError: for a version that is no number or text, or see `shape`.
        """
        if not self.has_versions:
            return json.dumps(self.shape(index, name))
        what = f"version of {_name_image(index, name)}"
        version = self._call("version", what, index)
        if not isinstance(version, int | np.integer | str):
            raise DataError(f"{self.where}: its {what} must be a whole number or a text, not {version!r:.80}")
        return json.dumps(version if isinstance(version, str) else int(version))

    def shape(self, index: int, name: str) -> tuple[int, int, int]:
        """The height, width and channels of an image.

        Raises:
            DataError: for a shape that is none, or too large.
        """
        what = f"shape of {_name_image(index, name)}"
        found = self._call("shape", what, index)
        try:
            height, width, channels = map(operator.index, found)
        except (TypeError, ValueError):
            height = width = channels = 0
        if min(height, width, channels) < 1:
            raise DataError(
                f"{self.where}: its {what} must be three whole numbers from 1 on, (height, width, channels), not "
                f"{found!r:.80}"
            )
        if excess := describe_excess(height, width, channels):
            raise DataError(f"{self.where}: its {what}: {excess}")
        return height, width, channels

    def read(self, index: int, name: str, region: Region, channels: int) -> ReadPart:
        """Reads a part of an image, which has so many channels.

        Raises:
            DataError: for anything but an image and a mask of that size.
        """
        what = f"read of {_name_image(index, name)}"
        found = self._call("read", what, index, *region)
        must = f"{self.where}: its {what} must return"
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise DataError(f"{must} two things, (image, mask) or (image, None), not {_describe(found)}")
        image, mask = found
        size = region.height, region.width
        if not _is_array(image, [(*size, channels)], lambda dtype: dtype.newbyteorder("=") in DTYPES):
            wanted = f"an image of shape {(*size, channels)} in uint8, uint16 or float32"
            raise DataError(f"{must} {wanted}, not {_describe(image)}")
        if mask is not None and not _is_array(mask, [size, (*size, 3)], lambda dtype: dtype.kind in "iub"):
            wanted = f"None or a mask of shape {size} or {(*size, 3)} in whole numbers"
            raise DataError(f"{must} {wanted}, not {_describe(mask)}")
        if np.isinf(image).any():
            raise DataError(f"{must} an image without infinite values; make them NaN, which counts as without data")
        # It may give the same memory again, with other pixels.
        return ReadPart(np.array(image), None if mask is None else np.array(mask))

    def try_part(self, name: str) -> None:
        """Reads the first image, whole and a part, so that a mistake is told before much is read.

        Args:
            name: of it.

        Raises:
            DataError: see `shape` and `read`; and for a part that is not that of the whole image.
        """
        height, width, channels = self.shape(0, name)
        whole = self.read(0, name, Region(0, 0, height, width), channels)
        region = Region(height // 4, width // 3, -(-height // 2), -(-width // 3))
        part = self.read(0, name, region, channels)
        if not all(_are_equal(ours, cut, region) for ours, cut in zip(part, whole, strict=True)):
            asked = ", ".join(f"{key}={value}" for key, value in region._asdict().items())
            raise DataError(
                f"{self.where}: its read of {_name_image(0, name)} with {asked} returns other values than the whole "
                "image has there; return just this part, and the same each time"
            )
        self.itemsize = whole.image.itemsize

    def _begin(self) -> None:
        self._built: Any = None
        self._lock, self._process = Lock(), os.getpid()
        self._inherited: list[Any] = []

    def _find(self) -> Any:
        """The object of this process.

        Raises:
            ConfigError: if it cannot be built.
        """
        with self._renew():
            return self._build()

    def _renew(self) -> Lock:
        """The lock of this process; one that is forked forgets what it inherits, and does not end what is another's."""
        if self._process != os.getpid():
            inherited = [*self._inherited, self._built]
            self._begin()
            self._inherited = inherited
        return self._lock

    def _build(self) -> Any:
        if self._built is None:
            methods = {"__len__": (), "shape": ("index",), "read": ("index", "top", "left", "height", "width")}
            built = build_custom("data", self._target, self._params, methods)
            for name in ("name", "version"):
                if hasattr(built, name):
                    check_method(self.where, built, name, ("index",))
            self._built = built
        return self._built

    def _call(self, method: str, what: str, *arguments: int) -> Any:
        """Calls a method of the user's object.

        Raises:
            DataError: for whatever it raises.
            ConfigError: see `_find`.
        """
        with self._renew():
            reader = self._build()
            try:
                return len(reader) if method == "__len__" else getattr(reader, method)(*arguments)
            except Exception as error:  # whatever the user's code does
                raise DataError(f"{self.where}: its {what} raises {describe_error(error)}") from error


def _name_image(index: int, name: str) -> str:
    return f"image {index} ({name})"


def _are_equal(part: Array | None, whole: Array | None, region: Region) -> bool:
    """Whether an array of a part is that part of the array of the whole image."""
    if part is None or whole is None:
        return part is whole
    cut = region.cut(whole)
    return part.dtype == cut.dtype and np.array_equal(part, cut, equal_nan=part.dtype.kind == "f")


def _is_array(found: object, shapes: list[tuple[int, ...]], is_type: Callable[[np.dtype[Any]], bool]) -> bool:
    return isinstance(found, np.ndarray) and found.shape in shapes and is_type(found.dtype)


def _describe(found: object) -> str:
    """What it is, in a message."""
    if isinstance(found, np.ndarray):
        return f"an array of shape {found.shape} in {found.dtype}"
    return "None" if found is None else f"something of type {type(found).__name__}"
