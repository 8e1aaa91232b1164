"""Config-driven U-Net experiments.

    import unet_exp
    predictor = unet_exp.load("outputs/train/<run>")
    label = predictor.predict(image)

Importing the package does not import torch; loading a checkpoint does.
"""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unet_exp.config import InferenceConfig
    from unet_exp.inference.predictor import Predictor

__version__ = "0.1.0"


def load(
    path: str | Path,
    accelerator: str = "auto",
    precision: str = "auto",
    inference: "InferenceConfig | None" = None,
    trust: Collection[str] = (),
) -> "Predictor":
    """Opens a checkpoint, or a run's folder, for prediction; see `unet_exp.inference.predictor.load`."""
    from unet_exp.inference import predictor

    return predictor.load(path, accelerator, precision, inference, trust)
