"""Config of what every kind of data has: patches, workers, normalization and folds."""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, field_validator, model_validator

from unet_exp.config.values import Count, Natural, Share
from unet_exp.schema import Strict

_Side = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class PatchConfig(Strict):
    """How patches are drawn, by which folds images are split, and how large a pixel is.

    Attributes:
        pixel_size: the side of a pixel, or its height and width, for distances; None: as the files of all images
            declare it, else, as with `pixels`, distances are in pixels.
    """

    tile: Count
    batch_size: Count
    num_workers: Natural | Literal["auto"]
    tiles_per_epoch: Count | None
    sampling: Literal["area", "image"] = "image"  # as earlier runs, which lack it, drew; conf/ has the default
    foreground_share: Share = 0.0  # for earlier runs, which lack it
    patches_in_a_row: Count = 1  # likewise
    normalization: Literal["image", "dataset", "none"]
    fold: Natural
    folds: Natural
    pixel_size: _Side | Annotated[list[_Side], Field(min_length=2, max_length=2)] | Literal["pixels"] | None = (
        None  # likewise
    )

    @model_validator(mode="after")
    def _check_fold(self) -> "PatchConfig":
        if self.folds in (1, 2):
            raise ValueError("data.folds must be 0 (the standard split) or at least 3 (train, validate, test)")
        if self.folds and self.fold >= self.folds:
            raise ValueError(f"data.fold={self.fold} must be less than data.folds={self.folds}")
        if not self.folds and self.fold:
            raise ValueError(f"data.fold={self.fold} needs data.folds (3 or more)")
        return self

    @field_validator("pixel_size", mode="wrap")
    @classmethod
    def _explain_size(cls, value: Any, read: ValidatorFunctionWrapHandler) -> Any:
        try:
            return read(value)
        except ValidationError:
            raise ValueError("must be the side of a pixel, or its [height,width], each above 0, or pixels") from None
