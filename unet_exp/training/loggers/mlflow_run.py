"""An MLflow run on a server or in a database; it sends nothing elsewhere and never fails a training."""

import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from unet_exp.config.loggers import MLflowConfig
from unet_exp.keys import flat
from unet_exp.training.loggers.interface import LOGGERS, Predictions, RunLogger, Start

if TYPE_CHECKING:  # else it is imported where it is used: it takes three seconds
    from mlflow import MlflowClient

DATABASE: Final = "mlflow.db"
"""The file below `output` without a server."""

_SETTINGS: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # read when MLflow is imported
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # by default a server that is gone stops a training for minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
_MOST_PARAMETERS: Final = 100  # of one call
_MOST_METRICS: Final = 1000  # likewise

_log = logging.getLogger(__name__)


class MLflowRun(RunLogger):
    """Logs to an open run of MLflow.

    Args:
        client: knows the server or database.
        run_id: of the run.
    """

    title = "MLflow"
    package = "mlflow"

    def __init__(self, client: "MlflowClient", run_id: str) -> None:
        self._client, self._id, self.run_id = client, run_id, run_id

    @classmethod
    def open(cls, start: Start) -> "MLflowRun":
        """Starts a run, or goes on with that of the resumed training."""
        for key, value in _SETTINGS.items():
            os.environ.setdefault(key, value)
        settings = start.config.logger
        assert isinstance(settings, MLflowConfig)
        with _without_passwords():
            from mlflow import MlflowClient

            for name in ("mlflow", "alembic"):  # each migration of a new database is a line
                logging.getLogger(name).setLevel(logging.WARNING)
            uri, files = _find_place(settings, Path(start.config.output))
            client = MlflowClient(tracking_uri=uri)
            run_id = cls._find_run(client, start.run_id) or cls._start_run(client, start, settings, files)
        logger = cls(client, run_id)
        logger.place = f"{uri}, experiment {settings.experiment}"
        return logger

    @classmethod
    def _find_run(cls, client: "MlflowClient", run_id: str | None) -> str | None:
        """Goes on with the earlier run; None where there is none."""
        from mlflow.exceptions import MlflowException

        if run_id is None:
            return None
        try:
            client.update_run(run_id, status="RUNNING")
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            _log.warning("MLflow: it has no run %s here; a new one begins", run_id)
            return None
        return run_id

    @classmethod
    def _start_run(cls, client: "MlflowClient", start: Start, settings: MLflowConfig, files: str | None) -> str:
        from mlflow.entities import Param
        from mlflow.exceptions import MlflowException

        experiment = client.get_experiment_by_name(settings.experiment)
        if experiment is None:
            try:
                experiment = client.get_experiment(client.create_experiment(settings.experiment, files))
            except MlflowException:  # another run of a sweep was faster
                experiment = client.get_experiment_by_name(settings.experiment)
        assert experiment is not None
        tags = {} if settings.group is None else {"group": settings.group}
        run = client.create_run(experiment.experiment_id, run_name=start.config.name, tags=tags)
        keys = flat(start.config.model_dump())
        params = [Param(_make_safe(key), str(value)[:6000]) for key, value in keys.items()]
        for first in range(0, len(params), _MOST_PARAMETERS):
            client.log_batch(run.info.run_id, params=params[first : first + _MOST_PARAMETERS])
        return str(run.info.run_id)

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Sends numbers."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        entries = [Metric(_make_safe(key), float(value), now, step) for key, value in metrics.items()]
        with _without_passwords():
            for first in range(0, len(entries), _MOST_METRICS):
                self._client.log_batch(self._id, metrics=entries[first : first + _MOST_METRICS])

    def log_predictions(self, predictions: Predictions) -> None:
        """Logs one picture per image."""
        self.log_pictures(dict(predictions.draw()), predictions.step)

    def log_pictures(self, pictures: Mapping[str, NDArray[np.uint8]], step: int) -> None:
        """Logs pictures under their names, so that a slider shows the steps."""
        with _without_passwords():
            for name, picture in pictures.items():
                self._client.log_image(self._id, picture, key=_make_safe(name), step=step)

    def finish(self, metrics: Mapping[str, float], failed: bool) -> None:
        """Ends the run."""
        del metrics
        with _without_passwords():
            self._client.set_terminated(self._id, "FAILED" if failed else "FINISHED")


def _find_place(settings: MLflowConfig, output: Path) -> tuple[str, str | None]:
    """The server or database, and the folder of pictures of a new experiment (None: as the server says)."""
    uri = settings.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    if uri is None:
        output.mkdir(parents=True, exist_ok=True)
        uri = f"sqlite:///{(output / DATABASE).resolve()}"
    files = None
    if uri.startswith("sqlite:///"):
        files = Path(uri.removeprefix("sqlite:///")).resolve().with_suffix(".files").as_uri()
    return uri, files


@contextmanager
def _without_passwords() -> Iterator[None]:
    """Takes user and password out of addresses in errors, which go to the terminal and to `run.log`."""
    try:
        yield
    except Exception as error:
        text = re.sub(r"://[^/@\s]*@", "://", f"{type(error).__name__}: {error}")
        raise RuntimeError(text) from None


def _make_safe(name: str) -> str:
    """A name that is legal as a key of MLflow."""
    return re.sub(r"[^\w./ -]+", "_", name)


LOGGERS["mlflow"] = MLflowRun
