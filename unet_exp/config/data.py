"""Which images, how they are split, and how patches are cut from them."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from unet_exp.config.values import Count, Natural
from unet_exp.schema import Strict


class _DataConfig(Strict):
    tile: Count
    batch_size: Count
    num_workers: Natural
    tiles_per_epoch: Count | None
    normalization: Literal["image", "dataset", "none"]
    fold: Natural
    folds: Natural

    @model_validator(mode="after")
    def _fold_exists(self) -> "_DataConfig":
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


class ISBI2012Config(_DataConfig):
    """The electron-microscopy stack of the ISBI 2012 challenge."""

    name: Literal["isbi2012"]
    root: str
    download: bool
    split: Literal["held_out", "all"]


class CellTrackingConfig(_DataConfig):
    """Partly annotated frames of the Cell Tracking Challenge."""

    name: Literal["phc_u373", "dic_hela"]
    root: str
    download: bool
    split: Literal["held_out", "all"]


DataConfig = Annotated[SyntheticConfig | ISBI2012Config | CellTrackingConfig, Field(discriminator="name")]
