"""Lists of transforms of albumentations: the one place that imports it.

It is archived, and looks for updates when it is imported unless it is told not to.
"""

import importlib
import inspect
import math
import os
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from unet_exp.augmentation.on_cut import COUNTS, INVENTED
from unet_exp.config.transforms import CONTAINERS, MASK_FILLS, MOVES, is_moving, list_leaves
from unet_exp.errors import ConfigError, suggest
from unet_exp.user_class import describe_error

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
albumentations: Any = importlib.import_module("albumentations")

Entry = dict[str, Any]

_PREFIXES = {"interpolation": "INTER", "border_mode": "BORDER"}
"""Arguments that are constants of OpenCV, which may be written as words, such as `cubic`."""

_LARGEST = 3
"""How many times as large as the patch the cut may be; what a transform looks for beyond it is ignored."""
_EXACT = 2**24
"""Up to here float32 has all whole numbers."""


class ListedTransforms:
    """Applies a list of transforms; see `unet_exp.augmentation.on_cut.CutTransform`.

    Maps are not resampled themselves: a map of the numbers of the pixels is, once, and all are looked up with it. So
    they are of any type, and no value of theirs is mixed or lost.

    Args:
        entries: checked by `unet_exp.config.transforms.check_transforms`.
        key: where they stand, such as `augmentation.transforms`.

    Raises:
        ConfigError: for arguments that a transform does not take, with its place.
    """

    def __init__(self, entries: Sequence[Entry], key: str) -> None:
        leaves = [entry for _, entry in list_leaves(entries, key)]
        self._source = [*entries], key
        self.moves = any(map(is_moving, leaves))
        self._reaches_out = any(entry["name"] in MOVES for entry in leaves)
        self.deforms = self._reaches_out or any(entry.get(fill) is not None for entry in leaves for fill in MASK_FILLS)
        self._compose = albumentations.Compose(build_transforms(entries, key), seed=0)
        self._numbers: NDArray[Any] = np.zeros((0, 0), np.float32)

    def __reduce__(self) -> tuple[Any, ...]:
        return ListedTransforms, self._source

    def find_margin(self, side: int) -> int:
        """See `CutTransform`: enough for any rotation, and for what the list says of scales and shifts."""
        if not self._reaches_out:
            return 0
        needed = _find_radius(self._compose.transforms, side / math.sqrt(2), side)
        return min(math.ceil(needed - side / 2), side * (_LARGEST - 1) // 2)

    def __call__(
        self, image: NDArray[Any], maps: Sequence[NDArray[Any]], seed: int
    ) -> tuple[NDArray[Any], list[NDArray[Any]]]:
        """See `CutTransform`."""
        self._compose.set_random_seed(seed)
        image = np.ascontiguousarray(image)
        if not maps:
            return self._compose(image=image)["image"], []
        found = self._compose(image=image, mask=self._number(len(image)))
        return found["image"], _look_up(found["mask"], maps)

    def _number(self, side: int) -> NDArray[Any]:
        """The pixels (S, S), numbered from 1: 0 is what a transform invents, -1 - k what it gives the class k."""
        if len(self._numbers) != side:
            kind = np.float32 if side**2 < _EXACT else np.float64
            self._numbers = np.arange(1, side**2 + 1, dtype=kind).reshape(side, side)
        return self._numbers.copy()


def _look_up(numbers: NDArray[Any], maps: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    places = numbers.astype(np.intp)
    found = [one.ravel().take(np.maximum(places - 1, 0)) for one in maps]
    invented, given = places == 0, places < 0
    if invented.any():
        found[-1][invented] = INVENTED
    if given.any():
        for one in found:
            one[given] = 0
        found[0][given] = -1 - places[given]
        found[-1][given] = COUNTS
    return found


def build_transforms(entries: Sequence[Entry], key: str) -> list[Any]:
    """Builds the transforms of a list.

    Raises:
        ConfigError: for arguments that one does not take, with its place.
    """
    return [_build(entry, f"{key}[{index}]") for index, entry in enumerate(entries)]


def _build(entry: Entry, where: str) -> Any:
    name, arguments = entry["name"], {key: _convert(key, value) for key, value in entry.items() if key != "name"}
    if name in CONTAINERS:
        arguments["transforms"] = build_transforms(entry["transforms"], f"{where}.transforms")
    made = getattr(albumentations, name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", ".*very slow")  # advice, and no mistake
            built = made(**arguments)
    except Exception as error:  # pydantic's errors, warnings of arguments that are not there, and others
        raise ConfigError(f"{where}: {name}: {_explain(error, entry, made)}") from None
    if name not in CONTAINERS:
        built.apply = partial(_keep_range, built.apply)
        built._key2func["image"] = built.apply  # what it looked up when it was made
    return built


def _keep_range(apply: Callable[..., Any], image: NDArray[Any], *args: Any, **arguments: Any) -> Any:
    """What a transform makes of an image; cubic interpolation of floats leaves 0 .. 1, and a power then gives NaN.

    Maps, which some transforms send the same way, are (S, S).
    """
    found = apply(image, *args, **arguments)
    return found.clip(0, 1) if image.ndim == 3 and image.dtype == np.float32 else found


def _convert(key: str, value: Any) -> Any:
    """An argument as albumentations takes it: lists as tuples, names of OpenCV as its numbers."""
    if key in MASK_FILLS and value is not None:
        return -1 - value
    if isinstance(value, list):
        return tuple(_convert("", one) for one in value)
    if isinstance(value, dict):
        return {name: _convert("", one) for name, one in value.items()}
    if key in _PREFIXES and isinstance(value, str):
        return getattr(cv2, f"{_PREFIXES[key]}_{value.upper().removeprefix(_PREFIXES[key]).lstrip('_')}", value)
    return value


def _explain(error: Exception, entry: Entry, made: Any) -> str:
    """An error of building in one line, with the argument, its value and what is allowed."""
    takes = [name for name in inspect.signature(made).parameters if name not in ("args", "kwargs")]
    if unknown := [name for name in entry if name != "name" and name not in takes]:
        return f"it has no argument {unknown[0]}{suggest(unknown[0], takes)}; it takes {', '.join(takes)}"
    details: list[Any] = getattr(error.__cause__, "errors", list)()
    if not details:
        return describe_error(error).split(": ", 1)[-1]
    argument = str(details[0]["loc"][0]) if details[0]["loc"] else ""
    wishes = dict.fromkeys(
        one["msg"].removeprefix("Value error, ").replace("Input should be", "should be", 1)
        for one in details
        if [*map(str, one["loc"][:1])] == ([argument] if argument else [])
    )
    message = " or ".join(wishes)
    if argument in _PREFIXES:
        message += f" (or a word of OpenCV without {_PREFIXES[argument]}_, such as cubic or reflect_101)"
    if details[0]["type"] == "missing":
        return f"it needs the argument {argument}"
    return f"{argument}={entry[argument]!r}: {message}" if argument in entry else message


def _find_radius(transforms: Sequence[Any], radius: float, side: int) -> float:
    """How far from its centre the cut must reach, pixels, so that a list finds real pixels for so large a circle."""
    for transform in reversed(transforms):
        name = type(transform).__name__
        if name in CONTAINERS:
            inside = list(transform.transforms)
            if name == "OneOf":
                radius = max(_find_radius([one], radius, side) for one in inside)
            else:
                radius = _find_radius(inside, radius, side)
        elif name == "Affine":
            smallest = max(min(low for low, _ in transform.scale.values()), 0.05)
            radius = radius * _find_shear(transform) / smallest + _find_shift(transform, side)
        elif name == "ElasticTransform":
            # Noise of -1 .. 1, blurred to 0.16 / sigma of it, times alpha; six standard deviations.
            radius += transform.alpha / max(transform.sigma, 1)
    return radius


def _find_shear(affine: Any) -> float:
    """How many times as far from the centre as a pixel its source can lie by shearing."""
    corners = product(*(np.tan(np.deg2rad(affine.shear[axis])) for axis in ("x", "y")))
    least = min(np.linalg.svd([[1, x], [y, 1]], compute_uv=False)[-1] for x, y in corners)
    return 1 / max(float(least), 0.05)


def _find_shift(affine: Any, side: int) -> float:
    shifts = affine.translate_px or affine.translate_percent or {}
    scale = side if affine.translate_percent else 1
    limits = [abs(limit) for value in shifts.values() for limit in (value if isinstance(value, tuple) else (value,))]
    return max(limits, default=0.0) * scale
