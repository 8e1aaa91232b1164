"""Lightning's Trainer as this project uses it."""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger
from pytorch_lightning.profilers import PassThroughProfiler, Profiler
from pytorch_lightning.strategies import DDPStrategy
from rich.console import Console

from unet_exp.config import duration_seconds
from unet_exp.config.model import EncoderModelConfig
from unet_exp.errors import DataError, TrainingError
from unet_exp.progress import Phase
from unet_exp.runs.lifecycle import explain_resume
from unet_exp.runs.run_folder import RunFolder
from unet_exp.training.checkpoint_io import WholeCheckpoints
from unet_exp.training.epoch_losses import EpochLosses
from unet_exp.training.prepare import Job
from unet_exp.training.profilers import PROFILERS
from unet_exp.training.progress_bar import TrainingProgress


class Unprofiled(PassThroughProfiler):
    """No profiler. Lightning's own for this purpose runs a generator around each of the sixty hooks of a step."""

    _nothing = nullcontext()

    def profile(self, action_name: str) -> Any:
        """A block like any other."""
        del action_name
        return self._nothing


def build_trainer(
    job: Job,
    folder: RunFolder,
    callbacks: Sequence[Callback],
    loggers: Sequence[Logger],
    console: Console,
    phase: Phase,
) -> pl.Trainer:
    """Builds the Trainer of a job; `callbacks` lacks only the one that shows the progress, also in `phase`."""
    settings = job.config.trainer
    limit = settings.limit_batches or 1.0
    seconds = None if settings.max_time is None else duration_seconds(settings.max_time)
    profiler: Profiler = PROFILERS[settings.profiler](folder) if settings.profiler else Unprofiled()
    precision: Any = "32-true" if job.precision == "32" else job.precision
    # Deterministic algorithms write all memory that they return; to fill it before is for finding bugs of PyTorch.
    switches: Any = torch.utils.deterministic  # PyTorch's stubs lack it
    switches.fill_uninitialized_memory = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pl.Trainer(
            accelerator=job.device.type,
            **_place_processes(job),
            precision=precision,
            logger=list(loggers) or False,
            callbacks=[*callbacks, TrainingProgress(console, phase, job.steps, seconds, settings.monitor)],
            # The limits are callbacks: Lightning's own end without a last validation.
            max_epochs=-1,
            max_steps=-1,
            min_epochs=0,
            limit_train_batches=limit,
            limit_val_batches=limit,
            val_check_interval=settings.val_every_epochs * job.datamodule.batches,
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            log_every_n_steps=10,
            enable_model_summary=False,
            accumulate_grad_batches=settings.accumulate,
            gradient_clip_val=settings.clip_norm,
            deterministic=settings.deterministic,
            profiler=profiler,
            plugins=[WholeCheckpoints(folder), GivenPlace(job.place.rank)],
            sync_batchnorm=settings.sync_batchnorm and job.place.world > 1,
            use_distributed_sampler=False,
            default_root_dir=folder.path,
        )


class GivenPlace(LightningEnvironment):
    """Tells Lightning which of the processes this is: to it, each is a machine of one device.

    Whatever started them: with SLURM's environment Lightning would requeue jobs, and save at moments of its own.
    """

    def __init__(self, rank: int) -> None:
        super().__init__()
        self._rank = rank

    @property
    def creates_processes_externally(self) -> bool:
        """Whether all processes are there already."""
        return True

    def node_rank(self) -> int:
        """The number of the process."""
        return self._rank

    def local_rank(self) -> int:
        """That of its only device."""
        return 0

    def teardown(self) -> None:
        """Leaves the environment as it is."""


class SharedTraining(DDPStrategy):
    """Lightning's, in which processes may validate different numbers of images."""

    def validation_step(self, *arguments: Any, **named: Any) -> Any:
        """Without the wrapper of the network, which would wait at each image for the other processes."""
        assert self.lightning_module is not None
        with self.precision_plugin.val_step_context():
            return self.lightning_module.validation_step(*arguments, **named)


def _place_processes(job: Job) -> dict[str, Any]:
    """How many processes there are and how they share gradients, in Lightning's words."""
    world = job.place.world
    if world == 1:
        return {"devices": 1, "strategy": "auto"}
    model = job.config.model
    # It must be told if some weights may have no gradient, as those of a frozen encoder.
    freezes = isinstance(model, EncoderModelConfig) and model.freeze_epochs > 0
    devices = [torch.cuda.current_device()] if job.device.type == "cuda" else 1
    more: dict[str, Any] = {"find_unused_parameters": True} if freezes else {}
    return {"devices": devices, "num_nodes": world, "strategy": SharedTraining(**more)}


@contextmanager
def explain_workers(folder: RunFolder) -> Iterator[None]:
    """Turns the death of a data-loading process, and the error of a file that one reads, into one line.

    Raises:
        TrainingError: with advice.
        DataError: of the file.
    """
    try:
        yield
    except DataError as error:
        # PyTorch puts the traceback of the other process into the message, and its error at the end.
        line = str(error).rstrip().splitlines()[-1]
        raise DataError(re.sub(r"^unet_exp\.[\w.]+: ", "", line)) from None
    except RuntimeError as error:
        if re.match(r"DataLoader worker \(pid", str(error)) is None:
            raise
        raise TrainingError(
            "a process that reads the data was killed, probably for lack of memory: take fewer "
            f"data.num_workers, and {explain_resume(folder)}"
        ) from None


@contextmanager
def explain_loss(losses: EpochLosses) -> Iterator[None]:
    """Turns an error of a step into that of an earlier one whose loss was not finite and had not been looked at.

    Raises:
        TrainingError: see `EpochLosses.look`.
    """
    try:
        yield
    except Exception:
        with suppress(RuntimeError):  # the device is in no state to be asked
            losses.look()
        raise
