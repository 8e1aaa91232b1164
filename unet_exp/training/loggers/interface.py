"""What a logger is to a training: four things that it can do, and one table of those that there are."""

import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unet_exp.config import ClassSpec, Config
from unet_exp.data.samples import Sample
from unet_exp.runs.run_folder import RunFolder

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """What a logger opens with.

    Attributes:
        config: the training's.
        folder: where the logger's files go.
        step: at which a resumed training goes on; None for a new one.
        run_id: what `RunLogger.run_id` was before the training was resumed.
    """

    config: Config
    folder: RunFolder
    step: int | None = None
    run_id: str | None = None


@dataclass(frozen=True)
class Predictions:
    """What a logger draws.

    Attributes:
        step: optimizer steps so far.
        epoch: epochs so far.
        samples: the images.
        labels: their predicted labels, (H, W) each.
        classes: in the order of the class indices.
    """

    step: int
    epoch: int
    samples: Sequence[Sample]
    labels: Sequence[NDArray[np.uint8]]
    classes: Sequence[ClassSpec]


class RunLogger(ABC):
    """Where one training's numbers and pictures go, beside its own `metrics.csv`.

    Whatever its methods raise becomes a warning: no logger fails a training. A subclass is entered into `LOGGERS`.
    """

    title: str
    """As warnings name it."""
    package: str | None = None
    """An optional package that it needs and imports when it opens; the project has an extra of the logger's word."""
    run_id: str | None = None
    """By which a resumed training finds its run again, where the service gives it one."""

    @classmethod
    @abstractmethod
    def open(cls, start: Start) -> "RunLogger":
        """Begins to log, or goes on; only the first process of a training does."""

    @abstractmethod
    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Takes numbers by name, as they are after `step` optimizer steps."""

    @abstractmethod
    def log_predictions(self, shown: Predictions) -> None:
        """Takes images with their true and predicted labels."""

    @abstractmethod
    def finish(self, metrics: Mapping[str, float], failed: bool) -> None:
        """Ends the logging, once.

        Args:
            metrics: the test scores by name; they have been logged.
            failed: whether the training has.
        """


LOGGERS: dict[str, type[RunLogger]] = {}
"""The loggers by the words of `logger=`; each module of this folder enters its own. `csv` needs none."""


@contextlib.contextmanager
def warn_on_error(title: str, consequence: str) -> Iterator[None]:
    """Turns whatever is raised into one warning that says what follows from it.

    From W&B come its own errors, `OSError` where its service is gone, and bare `Exception`s of private modules (an
    id in use: `ServerResponseError`). No narrower net holds them all, and a training must outlive each.

    Args:
        title: of the logger that has failed.
        consequence: what the user has to live with.
    """
    try:
        yield
    except Exception as error:
        _log.warning("%s: %s (%s: %s)", title, consequence, type(error).__name__, str(error).partition("\n")[0])
        _log.debug("the error in full", exc_info=True)
