"""The loggers that the config names, and pictures for each of them; `metrics.csv` is written beside all of them."""

import importlib.util
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger

from unet_exp.config import ClassSpec, Config, TensorBoardConfig, WandbConfig
from unet_exp.data.classes import colorize
from unet_exp.data.samples import Sample
from unet_exp.errors import ConfigError
from unet_exp.figures.overlay import grey_view
from unet_exp.runs.folder import RunFolder
from unet_exp.training import wandb_run


def check_logger(config: Config) -> None:
    """Finds out before the run whether its logger is installed.

    Raises:
        ConfigError: if it is not.
    """
    if isinstance(config.logger, TensorBoardConfig) and importlib.util.find_spec("tensorboard") is None:
        raise ConfigError("logger=tensorboard needs the extra: pip install 'unet-exp[tensorboard]'")


def build_loggers(
    config: Config, folder: RunFolder, step: int | None = None, run_id: str | None = None
) -> list[Logger]:
    """Opens the loggers of a run.

    Args:
        config: the training's.
        folder: where their files go.
        step: at which a resumed training goes on; None for a new one.
        run_id: of the W&B run that it goes on with, see `wandb_id`.
    """
    logger = config.logger
    if isinstance(logger, TensorBoardConfig):
        # TensorBoard forgets what an earlier part has logged from this step on.
        events = TensorBoardLogger(
            folder.path, name="tensorboard", version="", default_hp_metric=False, purge_step=step
        )
        events.log_hyperparams(config.model_dump())
        return [events]
    if not isinstance(logger, WandbConfig):
        return []
    run = wandb_run.open_run(
        folder.path,
        project=logger.project,
        name=config.name,
        config=config.model_dump(),
        mode=logger.mode,
        entity=logger.entity,
        group=logger.group,
        tags=logger.tags,
        init_timeout=logger.init_timeout,
        run_id=run_id,
    )
    return [wandb_run.lightning_logger(run, folder.path)]


def wandb_id(loggers: Sequence[Logger]) -> str | None:
    """The id of the W&B run among the loggers, by which a resumed training finds it again."""
    return next((str(logger.version) for logger in loggers if isinstance(logger, WandbLogger)), None)


def log_predictions(
    loggers: Sequence[Logger],
    step: int,
    epoch: int,
    samples: Sequence[Sample],
    labels: Sequence[NDArray[np.uint8]],
    classes: Sequence[ClassSpec],
) -> None:
    """Sends images with their true and predicted labels to each logger.

    Args:
        loggers: of the run.
        step: optimizer steps so far.
        epoch: epochs so far.
        samples: the images.
        labels: their predicted labels, (H, W) each.
        classes: in the order of the class indices.
    """
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            wandb_run.log_predictions(
                logger.experiment,
                step=step,
                epoch=epoch,
                names=[sample.name for sample in samples],
                images=[grey_view(sample.image) for sample in samples],
                truths=[sample.label for sample in samples],
                predictions=labels,
                class_names=[spec.name for spec in classes],
            )
        elif isinstance(logger, TensorBoardLogger):
            for sample, label in zip(samples, labels, strict=True):
                truth = colorize(label if sample.label is None else sample.label, classes)
                picture = np.concatenate([grey_view(sample.image), truth, colorize(label, classes)], axis=1)
                logger.experiment.add_image(f"predictions/{sample.name}", picture, step, dataformats="HWC")


def finish_loggers(
    loggers: Sequence[Logger], config: Config, folder: RunFolder, metrics: Mapping[str, float], step: int, failed: bool
) -> None:
    """Sends the test scores and closes the loggers.

    Args:
        loggers: of the run.
        config: the training's; says whether the best checkpoint becomes an artifact.
        folder: of the run.
        metrics: the scores, by name.
        step: optimizer steps taken.
        failed: whether the run did not finish.
    """
    for logger in loggers:
        if metrics:
            logger.log_metrics(dict(metrics), step)
        if isinstance(logger, WandbLogger):
            wanted = isinstance(config.logger, WandbConfig) and config.logger.log_checkpoint
            if wanted and folder.best.exists():
                wandb_run.log_checkpoint_artifact(logger.experiment, folder.best, folder.path.name, dict(metrics))
            wandb_run.finish(logger.experiment, exit_code=int(failed))
        else:
            logger.finalize("failed" if failed else "success")
