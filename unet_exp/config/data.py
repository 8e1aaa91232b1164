"""Config of the data: images, splits and patches."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from unet_exp.config.patches import PatchConfig
from unet_exp.config.user_data import CustomDataConfig, FolderConfig
from unet_exp.config.values import Count, Natural, PathName


class SyntheticConfig(PatchConfig):
    """Generated micrographs."""

    name: Literal["synthetic"]
    seed: Natural
    height: Annotated[int, Field(ge=32)]
    width: Annotated[int, Field(ge=32)]
    train_images: Count
    val_images: Count
    test_images: Count
    organelles: bool


class _BenchmarkConfig(PatchConfig):
    root: PathName
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


DataConfig = Annotated[
    SyntheticConfig | ISBI2012Config | U373Config | HeLaConfig | FolderConfig | CustomDataConfig,
    Field(discriminator="name"),
]
