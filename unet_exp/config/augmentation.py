"""Config of augmentation: what happens to a training patch before the network sees it."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from unet_exp.config.transforms import check_transforms
from unet_exp.config.values import Fraction, ImportPath, Natural, NonNegative
from unet_exp.schema import Strict


def _require_list(transforms: Any) -> Any:
    if not isinstance(transforms, list):
        raise ValueError("must be a list, such as [{name: Rotate, limit: 30}]")
    return transforms


Transforms = Annotated[list[Any], BeforeValidator(_require_list)]
"""Of albumentations, see `unet_exp.config.transforms`."""


def _check_then(transforms: Transforms) -> Transforms:
    check_transforms(transforms, "augmentation.then")
    return transforms


class _ThenConfig(Strict):
    """Shared by our own words.

    Attributes:
        then: transforms of albumentations after it; an earlier version's: none.
    """

    then: Annotated[Transforms, AfterValidator(_check_then)] = Field(default_factory=list)


class PlainAugmentationConfig(_ThenConfig):
    """Nothing, or flips and quarter turns."""

    name: Literal["none", "flips"]


class DeformationConfig(_ThenConfig):
    """Shared by `paper` and `strong`.

    Attributes:
        device: where patches are deformed, see `unet_exp.training.device_patches`; an earlier version's: on the CPU.
    """

    device: Literal["auto", "cpu", "gpu"] = "cpu"
    shift: Annotated[float, Field(ge=0, le=1000)]
    rotation: Annotated[float, Field(ge=0, le=180)]
    flip: bool
    grid: Annotated[int, Field(ge=2, le=64)]
    std: Annotated[float, Field(ge=0, le=1000)]
    knots: Literal["border", "inside"]
    contrast: Fraction
    brightness: NonNegative

    @model_validator(mode="after")
    def _check_device(self) -> "DeformationConfig":
        if self.then and self.device == "gpu":
            raise ValueError("augmentation.device=gpu: the transforms of augmentation.then run on the CPU; take auto")
        return self


class PaperAugmentationConfig(DeformationConfig):
    """The paper's section 3.1; what it does not state is a key."""

    name: Literal["paper"]


def _require_order(limits: list[float]) -> list[float]:
    if limits[0] > limits[1]:
        raise ValueError("must be [low, high] with low at most high")
    return limits


Factors = Annotated[
    list[Annotated[float, Field(ge=0.1, le=10)]], Field(min_length=2, max_length=2), AfterValidator(_require_order)
]
"""A range of factors around 1, `[low, high]`."""


class StrongAugmentationConfig(DeformationConfig):
    """The augmentation of the paper and more; `unet_exp.augmentation.strong` explains the keys."""

    name: Literal["strong"]
    probability: Annotated[float, Field(ge=0, le=1)]
    quarter_turns: bool
    zoom: Factors
    gamma: Factors
    blur: Annotated[float, Field(ge=0, le=100)]
    noise: Annotated[float, Field(ge=0, le=100)]


class _CutConfig(Strict):
    """What changes a part of the image as it is stored.

    Attributes:
        context: pixels that are cut around the patch, so that it gets real pixels where something moves them.
        outside: the label beyond the image's border.
    """

    context: Natural | Literal["auto"]
    outside: Literal["ignore", "mirror"]


class AlbumentationsConfig(_CutConfig):
    """A list of transforms of albumentations, each `{name: ..., ...arguments}`."""

    name: Literal["albumentations"]
    transforms: Transforms

    @model_validator(mode="after")
    def _check_transforms(self) -> "AlbumentationsConfig":
        if not self.transforms:
            raise ValueError(
                "augmentation.transforms is empty: list at least one transform of albumentations, such as "
                "'augmentation.transforms=[{name: Rotate, limit: 30}]'"
            )
        check_transforms(self.transforms, "augmentation.transforms")
        return self


class CustomAugmentationConfig(_CutConfig):
    """A user's own class.

    Attributes:
        target: `package.module.Name`.
        params: keyword arguments; null for none.
    """

    name: Literal["custom"]
    target: ImportPath
    params: dict[str, Any] | None


AugmentationConfig = Annotated[
    PlainAugmentationConfig
    | PaperAugmentationConfig
    | StrongAugmentationConfig
    | AlbumentationsConfig
    | CustomAugmentationConfig,
    Field(discriminator="name"),
]
