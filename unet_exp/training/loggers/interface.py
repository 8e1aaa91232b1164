"""The interface of a logger, and the table of all loggers."""

import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unet_exp.config import ClassSpec, Config
from unet_exp.figures.overlay import draw_panels
from unet_exp.runs.run_folder import RunFolder
from unet_exp.samples.sample import Sample

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """What a logger opens with; a resumed training has the step and the earlier `RunLogger.run_id`."""

    config: Config
    folder: RunFolder
    step: int | None = None
    run_id: str | None = None


@dataclass(frozen=True)
class Predictions:
    """Images with their predicted labels, (H, W) each, after `step` optimizer steps."""

    step: int
    epoch: int
    samples: Sequence[Sample]
    labels: Sequence[NDArray[np.uint8]]
    classes: Sequence[ClassSpec]

    def draw(self) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        """A name and a picture (H, W, 3) for each image, with true and predicted label side by side."""
        for sample, label in zip(self.samples, self.labels, strict=True):
            picture = draw_panels(sample.image, sample.label, label, self.classes, valid=sample.valid)
            yield f"predictions/{sample.name}", picture


class RunLogger(ABC):
    """Where the numbers and pictures of one training go, beside its own `metrics.csv`.

    Whatever its methods raise becomes a warning: no logger fails a training.
    """

    title: str
    """As warnings name it."""
    package: str | None = None
    """An optional package that it imports when it opens; the extra has the name of the logger."""
    run_id: str | None = None
    """By which a resumed training finds its run again; None where the service gives none."""
    url: str | None = None
    """Of its run in a browser; None without."""
    place: str | None = None
    """Where it writes, for the user; None for in the run's folder."""

    @classmethod
    @abstractmethod
    def open(cls, start: Start) -> "RunLogger":
        """Opens or resumes the log; only the first process of a training calls it."""

    @abstractmethod
    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Logs numbers by name, as they are after `step` optimizer steps."""

    @abstractmethod
    def log_predictions(self, predictions: Predictions) -> None:
        """Logs images with their true and predicted labels."""

    @abstractmethod
    def log_pictures(self, pictures: Mapping[str, NDArray[np.uint8]], step: int) -> None:
        """Logs pictures by name, (H, W, 3) RGB each, as they are after `step` optimizer steps."""

    @abstractmethod
    def finish(self, metrics: Mapping[str, float], failed: bool) -> None:
        """Closes the log, once; `metrics` are the test scores, which are already logged."""


LOGGERS: dict[str, type[RunLogger]] = {}
"""The loggers by the words of `logger=`; `csv` needs none."""


@contextlib.contextmanager
def warn_on_error(title: str, consequence: str) -> Iterator[None]:
    """Turns any error into one warning that states the consequence.

    W&B raises its own errors, `OSError` where its service is gone, and bare `Exception`s of private modules (an id in
    use: `ServerResponseError`). A training must survive each of them.
    """
    try:
        yield
    except Exception as error:
        _log.warning("%s: %s (%s: %s)", title, consequence, type(error).__name__, str(error).partition("\n")[0])
        _log.debug("the error in full", exc_info=True)
