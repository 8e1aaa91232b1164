"""The transforms of albumentations by name, without importing it (which imports torch): what each does.

A test holds this table against the library.
"""

from collections.abc import Sequence
from typing import Any

from unet_exp.errors import suggest

CONTAINERS = ("OneOf", "RandomOrder", "Sequential", "SomeOf")
"""Transforms of transforms, which have a list `transforms` of their own."""

TURNS = ("D4", "HorizontalFlip", "NoOp", "RandomRotate90", "SquareSymmetry", "Transpose", "VerticalFlip")
"""Move whole pixels about the centre, so that they need no pixels around the patch."""

MOVES = (
    *("Affine", "ElasticTransform", "GridDistortion", "GridElasticDeform", "OpticalDistortion", "Perspective"),
    *("PiecewiseAffine", "Rotate", "ThinPlateSpline"),
)
"""Move pixels in any other way."""

DROPS = ("CoarseDropout", "Erasing", "GridDropout", "PixelDropout", "XYMasking")
"""Take parts of the image away; the label stays, unless their `fill_mask` (or `mask_drop_value`) is given."""

VALUES = (
    *("AdditiveNoise", "AdvancedBlur", "AutoContrast", "Blur", "CLAHE", "ChannelDropout", "ChannelShuffle"),
    *("ChromaticAberration", "ColorJitter", "Defocus", "Downscale", "Emboss", "Equalize", "FancyPCA", "GaussNoise"),
    *("GaussianBlur", "GlassBlur", "HEStain", "HueSaturationValue", "ISONoise", "Illumination", "ImageCompression"),
    *("InvertImg", "MedianBlur", "MotionBlur", "MultiplicativeNoise", "PlanckianJitter"),
    *("PlasmaBrightnessContrast", "PlasmaShadow", "Posterize", "RGBShift", "RandomBrightnessContrast", "RandomFog"),
    *("RandomGamma", "RandomGravel", "RandomRain", "RandomShadow", "RandomSnow", "RandomSunFlare", "RandomToneCurve"),
    *("RingingOvershoot", "SaltAndPepper", "Sharpen", "ShotNoise", "Solarize", "Spatter", "Superpixels", "ToGray"),
    *("ToSepia", "UnsharpMask", "ZoomBlur"),
)
"""Change the values of the image alone."""

_SIZE = "it changes the size, and a patch has data.tile; use {} instead"
_REASONS = {
    _SIZE.format("data.tile and data.foreground_share, which place patches,"): (
        *("AtLeastOneBBoxRandomCrop", "BBoxSafeRandomCrop", "CenterCrop", "Crop", "CropNonEmptyMaskIfExists"),
        *("RandomCrop", "RandomCropFromBorders", "RandomCropNearBBox"),
    ),
    _SIZE.format("Affine(scale=...)"): (
        *("CropAndPad", "LongestMaxSize", "RandomResizedCrop", "RandomScale", "RandomSizedBBoxSafeCrop"),
        *("RandomSizedCrop", "Resize", "SmallestMaxSize"),
    ),
    "it changes the size; images go on around a patch, and are mirrored beyond their border": ("Pad", "PadIfNeeded"),
    "it changes the type or range of the pixels; data.normalization does that, after all transforms": (
        *("FromFloat", "Normalize", "ToFloat"),
    ),
    "it makes tensors, as the training does after all transforms": ("ToTensor3D", "ToTensorV2"),
    "it changes the number of channels, which is that of the images": ("ToRGB",),
    "it needs other images or metadata, which a list of words does not give; use augmentation=custom": (
        *("FDA", "HistogramMatching", "Mosaic", "OverlayElements", "PixelDistributionAdaptation", "TextImage"),
    ),
    "it is for volumes, and patches are flat": (
        *("CenterCrop3D", "CoarseDropout3D", "CubicSymmetry", "Pad3D", "PadIfNeeded3D", "RandomCrop3D"),
    ),
    "it is for spectrograms; use XYMasking or HorizontalFlip": ("FrequencyMasking", "TimeMasking", "TimeReverse"),
    "it takes functions, which are no plain words; use augmentation=custom": ("Lambda",),
    "it needs to know which objects to drop; use CoarseDropout": ("ConstrainedCoarseDropout", "MaskDropout"),
    "it would change the numbers of the classes, too; use augmentation=custom": ("Morphological",),
    "it shrinks the image and invents the corners; use Rotate, which finds real pixels around the patch": (
        "SafeRotate",
    ),
    "it may leave pixels without a value (in albumentations 2.0.8); use augmentation=custom": ("RandomGridShuffle",),
    "it is an old form of Affine; use Affine": ("ShiftScaleRotate",),
    "the list is one already; use Sequential for a part of it": ("Compose", "ReplayCompose"),
    "it is OneOf with two transforms; use OneOf": ("OneOrOther",),
    "it is not supported here; use ChannelDropout or augmentation=custom": ("SelectiveChannelTransform",),
    "it is a base class": (*("BaseCompose", "BasicTransform", "DualTransform", "ImageOnlyTransform", "Transform3D"),),
}
REFUSED = {name: reason for reason, names in _REASONS.items() for name in names}
"""Those that do not fit here, each with the reason."""

USED = (*CONTAINERS, *TURNS, *MOVES, *DROPS, *VALUES)
MASK_FILLS = ("fill_mask", "mask_drop_value")
"""Arguments that give the label of pixels that a transform invents or takes away."""
_FIXED = {
    "mask_interpolation": "labels and ids are never mixed",
    **dict.fromkeys(("fit_output", "keep_size", "crop_border"), "the size of a patch is fixed"),
}
_DEEPEST = 8


def check_transforms(entries: Sequence[Any], key: str, depth: int = 0) -> None:
    """Checks the names in a list of `{name: ..., ...arguments}`, with lists of their own in containers.

    Args:
        entries: the list.
        key: where it stands, such as `augmentation.transforms`.
        depth: of nesting.

    Raises:
        ValueError: for the first mistake, with its place.
    """
    if depth > _DEEPEST:
        raise ValueError(f"{key}: transforms are nested more than {_DEEPEST} deep")
    for index, entry in enumerate(entries):
        where = f"{key}[{index}]"
        if not isinstance(entry, dict):
            raise ValueError(f"{where}={entry!r}: must be a transform such as {{name: Rotate, limit: 30}}")
        _check_entry(entry, where)
        if entry["name"] in CONTAINERS:
            inside = entry.get("transforms")
            if not isinstance(inside, list) or not inside:
                raise ValueError(f"{where}: {entry['name']} needs transforms: [...], a list of at least one transform")
            check_transforms(inside, f"{where}.transforms", depth + 1)


def _check_entry(entry: dict[Any, Any], where: str) -> None:
    name = entry.get("name")
    if name is None:
        raise ValueError(f"{where}: the key name is missing; write it as {{name: Rotate, limit: 30}}")
    if isinstance(name, str) and name in REFUSED:
        raise ValueError(f"{where}.name={name} cannot be used: {REFUSED[name]}")
    if not isinstance(name, str) or name not in USED:
        hint = suggest(str(name), USED)
        raise ValueError(f"{where}.name={name!r}: albumentations has no such transform{hint}; docs/augmentation.md")
    chance = entry.get("p", 0.5)
    if isinstance(chance, bool) or not isinstance(chance, int | float) or not 0 <= chance <= 1:
        raise ValueError(f"{where}.p={chance!r}: should be a probability, a number from 0 to 1")
    for key in entry:
        if key in _FIXED:
            raise ValueError(f"{where}.{key} cannot be set: {_FIXED[key]}; leave it out")
        if key in MASK_FILLS and entry[key] is not None and not _is_label(entry[key]):
            raise ValueError(f"{where}.{key}={entry[key]!r}: should be the number of a class, or 255 for ignored")


def _is_label(value: Any) -> bool:
    return type(value) is int and value in range(256)


def list_leaves(entries: Sequence[dict[str, Any]], key: str) -> list[tuple[str, dict[str, Any]]]:
    """The transforms of a checked list without its containers, each with its place, such as `...transforms[0]`."""
    found: list[tuple[str, dict[str, Any]]] = []
    for index, entry in enumerate(entries):
        where = f"{key}[{index}]"
        inside = entry["name"] in CONTAINERS
        found += list_leaves(entry["transforms"], f"{where}.transforms") if inside else [(where, entry)]
    return found


def is_moving(entry: dict[str, Any]) -> bool:
    """Whether a transform changes the label: moves it, or writes into it."""
    return entry["name"] in (*TURNS, *MOVES) or any(entry.get(key) is not None for key in MASK_FILLS)
