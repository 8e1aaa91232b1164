"""The loggers of the config; `metrics.csv` is written beside all of them.

A logger is a module of this folder: a `RunLogger` that enters itself into `LOGGERS`.
"""

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning.loggers import Logger

from unet_exp.config import Config
from unet_exp.errors import ConfigError
from unet_exp.training.loggers.interface import LOGGERS, Predictions, RunLogger, Start, warn_on_error

__all__ = ["LOGGERS", "Predictions", "RunLogger", "Start", "TrainingLogger", "check_logger", "guarded", "open_logger"]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")


def check_logger(config: Config) -> None:
    """Checks before the run that its logger is installed.

    Raises:
        ConfigError: if it is not.
    """
    name = config.logger.name
    package = None if name == "csv" else LOGGERS[name].package
    if package is not None and find_spec(package) is None:
        raise ConfigError(f"logger={name} needs the extra: pip install 'unet-exp[{name}]'")


class TrainingLogger(Logger):
    """The logger of one training; it turns the failures of a `RunLogger` into warnings. None: only `metrics.csv`."""

    def __init__(self, logger: RunLogger | None = None) -> None:
        super().__init__()
        self._logger, self._title = logger, "CSV" if logger is None else logger.title
        self._takes_metrics = True

    @property
    def name(self) -> str:
        """See `RunLogger.title`."""
        return self._title

    @property
    def version(self) -> str | None:
        """See `run_id`."""
        return self.run_id

    @property
    def run_id(self) -> str | None:
        """See `RunLogger.run_id`."""
        return None if self._logger is None else self._logger.run_id

    @property
    def lightning(self) -> list[Logger]:
        """What Lightning logs to: this, or nothing."""
        return [] if self._logger is None else [self]

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Does nothing: a logger has the config from its start."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Passes numbers on, until the logger fails once."""
        if self._logger is not None and self._takes_metrics:
            self._takes_metrics = False
            with warn_on_error(self._title, "from here on metrics go to the CSV alone"):
                self._logger.log_metrics(metrics, step or 0)
                self._takes_metrics = True

    def log_predictions(self, predictions: Predictions) -> None:
        """Passes pictures on."""
        if self._logger is not None:
            with warn_on_error(self._title, "prediction images are not logged"):
                self._logger.log_predictions(predictions)

    def log_pictures(self, pictures: Mapping[str, NDArray[np.uint8]], step: int) -> None:
        """Passes pictures on, see `RunLogger.log_pictures`."""
        if self._logger is not None:
            with warn_on_error(self._title, f"{', '.join(pictures)} is not logged"):
                self._logger.log_pictures(pictures, step)

    def finish(self, metrics: Mapping[str, float], step: int, failed: bool) -> None:
        """Logs the test scores after `step` optimizer steps and closes the logger; a second call does nothing."""
        if metrics:
            self.log_metrics(metrics, step)
        logger, self._logger = self._logger, None
        if logger is not None:
            with warn_on_error(self._title, "the end of the run is not logged"):
                logger.finish(metrics, failed)


def open_logger(start: Start) -> TrainingLogger:
    """Opens the logger of the config."""
    name = start.config.logger.name
    if name != "csv":
        with warn_on_error(LOGGERS[name].title, "it cannot be opened; metrics go to the CSV alone"):
            return TrainingLogger(LOGGERS[name].open(start))
    return TrainingLogger()
