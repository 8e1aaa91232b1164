"""The loggers of the config; `metrics.csv` is written beside all of them.

A logger is a module of this folder: a `RunLogger` that enters itself into `LOGGERS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning.loggers import Logger

from unet_exp.config import Config
from unet_exp.config.loggers import check_project
from unet_exp.errors import ConfigError
from unet_exp.extras import hint_extra
from unet_exp.training.loggers.interface import LOGGERS, Predictions, RunLogger, Start, warn_on_error

__all__ = ["LOGGERS", "WANDB", "Predictions", "RunLogger", "Start", "TrainingLogger", "check_logger", "open_logger"]

WANDB = "wandb"
"""The word of the logger whose id a summary has in a field of its own."""

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")


def check_logger(config: Config) -> None:
    """Checks before the run that its loggers are installed.

    Raises:
        ConfigError: if one is not, and for a project that W&B would refuse.
    """
    check_project(config.logger)
    for name in config.logger.names:
        package = LOGGERS[name].package
        if package is not None and find_spec(package) is None:
            raise ConfigError(f"logger={name} needs the extra: {hint_extra(name)}")


class TrainingLogger(Logger):
    """The loggers of one training; it turns the failures of a `RunLogger` into warnings. None: only `metrics.csv`.

    Args:
        loggers: open ones, by their words.

    Attributes:
        places: their titles, and where they write.
        run_ids: by their words, see `RunLogger.run_id`.
        urls: likewise.
    """

    def __init__(self, loggers: Mapping[str, RunLogger] | None = None) -> None:
        super().__init__()
        self._loggers = dict(loggers or {})
        self._take_metrics = dict.fromkeys(self._loggers, True)
        self.places = [(logger.title, logger.place) for logger in self._loggers.values() if logger.place is not None]
        self.run_ids = {word: logger.run_id for word, logger in self._loggers.items() if logger.run_id is not None}
        self.urls = {word: logger.url for word, logger in self._loggers.items()}

    @property
    def name(self) -> str:
        """See `RunLogger.title`."""
        return ", ".join(logger.title for logger in self._loggers.values()) or "CSV"

    @property
    def version(self) -> str | None:
        """See `RunLogger.run_id`."""
        return next(iter(self.run_ids.values()), None)

    @property
    def lightning(self) -> list[Logger]:
        """What Lightning logs to: this, or nothing."""
        return [self] if self._loggers else []

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Does nothing: a logger has the config from its start."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Passes numbers on, to each logger until it fails once."""
        for word, logger in self._loggers.items():
            self._log_to(word, logger, metrics, step or 0)

    def log_predictions(self, predictions: Predictions) -> None:
        """Passes images with their labels on."""
        self._pass_on("prediction images are not logged", lambda logger: logger.log_predictions(predictions))

    def log_pictures(self, pictures: Mapping[str, NDArray[np.uint8]], step: int) -> None:
        """Passes pictures on, see `RunLogger.log_pictures`."""
        self._pass_on(f"{', '.join(pictures)} is not logged", lambda logger: logger.log_pictures(pictures, step))

    def finish(self, metrics: Mapping[str, float], step: int, failed: bool) -> None:
        """Logs the test scores after `step` optimizer steps and closes the loggers.

        A second call, as after a signal in the first, closes those that are left.
        """
        while self._loggers:
            word = next(iter(self._loggers))
            logger = self._loggers.pop(word)
            if metrics:
                self._log_to(word, logger, metrics, step)
            with warn_on_error(logger.title, "the end of the run is not logged"):
                logger.finish(metrics, failed)

    def _log_to(self, word: str, logger: RunLogger, metrics: Mapping[str, float], step: int) -> None:
        if self._take_metrics[word]:
            self._take_metrics[word] = False
            with warn_on_error(logger.title, "from here on metrics go to the CSV alone"):
                logger.log_metrics(metrics, step)
                self._take_metrics[word] = True

    def _pass_on(self, consequence: str, call: Callable[[RunLogger], None]) -> None:
        for logger in self._loggers.values():
            with warn_on_error(logger.title, consequence):
                call(logger)


def open_logger(start: Start, run_ids: Mapping[str, str | None] | None = None) -> TrainingLogger:
    """Opens the loggers of the config; `run_ids` are those of the resumed run, by the words of its loggers."""
    opened = {}
    for name in start.config.logger.names:
        with warn_on_error(LOGGERS[name].title, "it cannot be opened; metrics go to the CSV alone"):
            opened[name] = LOGGERS[name].open(replace(start, run_id=(run_ids or {}).get(name)))
    return TrainingLogger(opened)
