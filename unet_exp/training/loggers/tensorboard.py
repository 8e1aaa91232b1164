"""TensorBoard event files in the run folder."""

import shlex
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning.loggers import TensorBoardLogger

from unet_exp.files import shorten_path
from unet_exp.training.loggers.interface import LOGGERS, Predictions, RunLogger, Start


class TensorBoardEvents(RunLogger):
    """Writes event files through Lightning's logger."""

    title = "TensorBoard"
    package = "tensorboard"

    def __init__(self, events: TensorBoardLogger) -> None:
        self._events = events
        self.place = f"tensorboard --logdir {shlex.quote(shorten_path(events.log_dir))}"

    @classmethod
    def open(cls, start: Start) -> "TensorBoardEvents":
        """Starts an event file; TensorBoard drops what an earlier part has logged from its step on."""
        events = TensorBoardLogger(
            start.folder.path, name="tensorboard", version="", default_hp_metric=False, purge_step=start.step
        )
        events.log_hyperparams(start.config.model_dump())
        return cls(events)

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Writes scalars."""
        self._events.log_metrics(metrics, step)
        self._events.save()

    def log_predictions(self, predictions: Predictions) -> None:
        """Writes one picture per image."""
        self.log_pictures(dict(predictions.draw()), predictions.step)

    def log_pictures(self, pictures: Mapping[str, NDArray[np.uint8]], step: int) -> None:
        """Writes pictures under their names."""
        for name, picture in pictures.items():
            self._events.experiment.add_image(name, picture, step, dataformats="HWC")

    def finish(self, metrics: Mapping[str, float], failed: bool) -> None:
        """Closes the file."""
        del metrics
        self._events.finalize("failed" if failed else "success")


LOGGERS["tensorboard"] = TensorBoardEvents
