"""Scores of the user's own: a class that is built once a run, and called with each image."""

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unet_exp.config.running import OwnMetricConfig
from unet_exp.errors import ConfigError
from unet_exp.metrics.declarations import METRICS
from unet_exp.user_class import build_custom, check_method, describe_error, takes

_COLUMNS = ("image", "fold", "threshold")
"""Names of other columns in the files of scores."""


class OwnMetric:
    """An object of the user's class, which it calls with `(truth, prediction)` of an image.

    A class whose `__call__` takes three arguments is given the probabilities too.

    Args:
        config: names the class.
        place: in `metrics.own`, for messages.

    Raises:
        ConfigError: if the class cannot be imported or does not fit, or the name is one of this project's.
    """

    def __init__(self, config: OwnMetricConfig, place: int) -> None:
        self.name = config.name
        self._where = f"metrics.own[{place}].target={config.target}"
        self._called = build_custom(f"metrics.own[{place}]", config.target, config.params or {}, {})
        self.takes_probabilities = takes(self._called, "truth", "prediction", "probabilities")
        if not self.takes_probabilities:
            check_method(self._where, self._called, "__call__", ("truth", "prediction"))

    def score(
        self,
        image: str,
        truth: NDArray[np.uint8],
        prediction: NDArray[np.uint8],
        probabilities: NDArray[np.float32] | None = None,
    ) -> float:
        """The score of an image.

        Args:
            image: its name, for messages.
            truth: (H, W) class indices, 255 where ignored.
            prediction: (H, W) class indices.
            probabilities: (classes, H, W), for a class that takes them.

        Returns:
            A number; nan where the image has no score.

        Raises:
            ConfigError: if the class raises anything or returns anything but one number.
        """
        where = f"{self._where}: {self.name} of {image}"
        try:
            given = (truth, prediction, probabilities) if self.takes_probabilities else (truth, prediction)
            value: Any = self._called(*given)
        except Exception as error:  # whatever the user's code does
            raise ConfigError(f"{where} raises {describe_error(error)}") from error
        if isinstance(value, np.ndarray) and value.ndim == 0:
            value = value[()]
        if not isinstance(value, Real):
            raise ConfigError(f"{where} must be one number, not {type(value).__name__}")
        if math.isinf(value):
            raise ConfigError(f"{where} is infinite; return nan for an image that has no score")
        return float(value)


def check_names(own: Sequence[OwnMetricConfig]) -> None:
    """Checks that no score of the user's has the name of one of this project's.

    Raises:
        ConfigError: if one has.
    """
    for place, config in enumerate(own):
        theirs = {*_COLUMNS, *(name for metric in METRICS for name in (metric.name, metric.at_val, metric.threshold))}
        if config.name in theirs:
            raise ConfigError(
                f"metrics.own[{place}].name={config.name}: this project has a score or column of this name; choose "
                "another"
            )


def build_own(own: Sequence[OwnMetricConfig]) -> list[OwnMetric]:
    """Builds the scores of the user's own.

    Raises:
        ConfigError: see `check_names` and `OwnMetric`.
    """
    check_names(own)
    return [OwnMetric(config, place) for place, config in enumerate(own)]
