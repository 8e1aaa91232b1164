"""Config of the loggers: one, or several at once."""

from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, SerializeAsAny, ValidatorFunctionWrapHandler, WrapValidator, create_model, field_validator

from unet_exp.config.values import Count, Natural, Positive
from unet_exp.errors import ConfigError
from unet_exp.schema import Strict

_LONGEST_PROJECT = 128
"""Letters that W&B takes."""


class AnyLoggerConfig(Strict):
    """What all have; `name` is a word, or the words of several loggers, whose keys stand side by side."""

    name: Any

    @property
    def names(self) -> tuple[str, ...]:
        """The words of the loggers beside `metrics.csv`."""
        names = self.name if isinstance(self.name, list) else [self.name]
        return tuple(name for name in names if name != "csv")

    def join_sweep(self, sweep: str) -> Self:
        """The same for a run of this sweep."""
        del sweep
        return self


class PictureLoggerConfig(AnyLoggerConfig):
    """What a logger that takes pictures has."""

    images: Natural
    images_every_epochs: Count


class _GroupLoggerConfig(PictureLoggerConfig):
    group: str | None

    def join_sweep(self, sweep: str) -> Self:
        """The logger shows the runs of a sweep as one group."""
        return self.model_copy(update={"group": sweep}) if self.group is None else self


class WandbConfig(_GroupLoggerConfig):
    """Weights & Biases; never asks, never fails a training."""

    name: Literal["wandb"]
    project: str
    entity: str | None
    mode: Literal["auto", "online", "offline", "disabled"]
    tags: list[str]
    init_timeout: Positive
    log_checkpoint: bool

    def explain_project(self) -> str | None:
        """Why W&B would refuse the name of the project; None if it would not.

        The schema takes any: the runs of earlier versions went on without W&B.
        """
        unfit = sorted(set(self.project) & set("/\\#?%:"))
        if not unfit and 0 < len(self.project) <= _LONGEST_PROJECT:
            return None
        owner, slash, name = self.project.partition("/")
        hint = f"; for a team or user type logger.entity={owner} logger.project={name}" if slash and name else ""
        return (
            f"logger.project={self.project}: W&B takes 1 to {_LONGEST_PROJECT} letters for a project, and none of "
            f"/ \\ # ? % :{hint}"
        )


class CSVConfig(AnyLoggerConfig):
    """Nothing but the run folder's own `metrics.csv`, which every logger has beside it."""

    name: Literal["csv"]


class TensorBoardConfig(PictureLoggerConfig):
    """TensorBoard event files in the run folder."""

    name: Literal["tensorboard"]


class MLflowConfig(_GroupLoggerConfig):
    """MLflow.

    Attributes:
        experiment: under which MLflow lists the run.
        tracking_uri: of the server or database; null: MLFLOW_TRACKING_URI, else a database below `output`.
    """

    name: Literal["mlflow"]
    experiment: Annotated[str, Field(min_length=1)]
    tracking_uri: Annotated[str, Field(description="URL")] | None

    @field_validator("tracking_uri")
    @classmethod
    def _check_uri(cls, uri: str | None) -> str | None:
        # It would stand in the run's config and in its checkpoints.
        if uri is not None and "@" in uri.partition("://")[2].partition("/")[0]:
            raise ValueError(
                "logger.tracking_uri must hold no password, as files of the run hold it: set MLFLOW_TRACKING_USERNAME "
                "and MLFLOW_TRACKING_PASSWORD, or all of it as MLFLOW_TRACKING_URI"
            )
        if uri is not None and not uri.startswith(("http://", "https://", "sqlite:///", "databricks")):
            raise ValueError(
                f"logger.tracking_uri={uri}: must be a server (http://...) or a database (sqlite:///file.db); MLflow "
                "refuses folders from its release 3 on"
            )
        return uri


_OneLogger = WandbConfig | CSVConfig | TensorBoardConfig | MLflowConfig


def check_project(logger: AnyLoggerConfig) -> None:
    """Checks the name of the project, where there is one.

    Raises:
        ConfigError: if W&B would refuse it.
    """
    if isinstance(logger, WandbConfig) and (mistake := logger.explain_project()):
        raise ConfigError(mistake, "logger.project")


def check_logger_names(names: Sequence[str]) -> None:
    """Checks the words of several loggers.

    Raises:
        ValueError: for one twice, none, or `csv` beside others.
    """
    typed = f"logger=[{','.join(names)}]"
    if not names:
        raise ValueError(f"{typed}: name one at least; logger=csv has nothing but metrics.csv")
    if twice := [name for place, name in enumerate(names) if name in names[:place]]:
        raise ValueError(f"{typed}: {twice[0]} is named twice")
    if "csv" in names and len(names) > 1:
        raise ValueError(f"{typed}: leave csv out; metrics.csv is written with every logger")


class _SeveralLoggers(AnyLoggerConfig):
    """Pickles a config whose class is made here, and which no other process could import."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _read_joined, (self.model_dump(),)


@cache
def _join_classes(names: tuple[str, ...]) -> type[AnyLoggerConfig]:
    """The class of several loggers: it has the keys of all."""
    known = {get_args(one.model_fields["name"].annotation)[0]: one for one in get_args(_OneLogger)}
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"logger.name={list(names)}: there is no logger {unknown[0]}; there are {', '.join(known)}")
    bases = (_SeveralLoggers, *(known[name] for name in names))
    joined: type[AnyLoggerConfig] = create_model("SeveralLoggersConfig", __base__=bases, name=(list[str], ...))
    return joined


def _read_joined(values: dict[str, Any]) -> AnyLoggerConfig:
    return _join_classes(tuple(values["name"])).model_validate(values)


def _read_several(values: Any, read_one: ValidatorFunctionWrapHandler) -> Any:
    names = values.get("name") if isinstance(values, dict) else None
    if not isinstance(names, list):
        return read_one(values)
    check_logger_names(list(map(str, names)))
    return _join_classes(tuple(map(str, names))).model_validate(values)


LoggerConfig = SerializeAsAny[
    Annotated[
        Annotated[_OneLogger, Field(discriminator="name")],
        WrapValidator(_read_several),
    ]
]
