"""Config-driven U-Net experiments.

    import unet_exp
    predictor = unet_exp.load("outputs/train/<run>")
    label = predictor.predict(image)

Importing the package does not import torch; loading a checkpoint does.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unet_exp.config import InferenceConfig
    from unet_exp.inference.predictor import Predictor

__version__ = "0.1.0"


def load(
    path: str | Path | Sequence[str | Path],
    accelerator: str = "auto",
    precision: str = "auto",
    inference: "InferenceConfig | None" = None,
    trust: Collection[str] = (),
) -> "Predictor":
    """Opens a checkpoint for prediction, or several, whose mean probabilities are the prediction.

    Args:
        path: a checkpoint, a run's folder, whose `best.ckpt` is taken, or a file of `scripts/export.py`. Several as a
            list, a glob or a sweep's folder: see `unet_exp.inference.ensemble.open_checkpoints`.
        accelerator: `auto`, `cpu`, `gpu`, `cuda` or `mps`.
        precision: `auto`, `32`, `bf16-mixed` or `16-mixed`.
        inference: see `unet_exp.inference.predictor.Predictor`.
        trust: see `unet_exp.checkpoints.opening.open_checkpoint`.

    Raises:
        DataError: if it cannot be opened, or if several do not agree in classes and channels.
        ConfigError: see `Predictor`.
    """
    from unet_exp.inference.ensemble import open_checkpoints
    from unet_exp.inference.predictor import Predictor

    return Predictor(open_checkpoints(path, trust).checkpoints, accelerator, precision, inference)
