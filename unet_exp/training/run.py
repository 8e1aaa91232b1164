"""One training from its config to its folder: prepare, fit, test, close."""

import itertools
import logging
import os
import platform
import time
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from rich.console import Console

from unet_exp import signals
from unet_exp.checkpoints.opening import open_checkpoint
from unet_exp.config import Config, duration_seconds
from unet_exp.config.loggers import PictureLoggerConfig
from unet_exp.config.model import UNetConfig
from unet_exp.config.own_classes import list_targets
from unet_exp.console import make_console
from unet_exp.errors import ConfigError, DataError
from unet_exp.figures.curves import draw_curves
from unet_exp.files import hold_lock, warn_of_failure
from unet_exp.geometry import Architecture
from unet_exp.inference.device import explain_out_of_memory, peak_memory, reset_peak_memory
from unet_exp.inference.predictor import Predictor
from unet_exp.inference.score_tables import score_tables, warn_of_thresholds
from unet_exp.inference.scoring import Scores, describe_drawn, draw_scores, score_split, score_test, write_scores
from unet_exp.io.images import read_image
from unet_exp.io.writing import write_image
from unet_exp.memory import keep_freed_memory
from unet_exp.metrics.declarations import direction
from unet_exp.pages.run_page import write_run_page
from unet_exp.progress import watch
from unet_exp.runs.conditions import Conditions
from unet_exp.runs.earlier import keep_places, keep_unrecorded
from unet_exp.runs.lifecycle import RunRecord, explain_resume, record_run
from unet_exp.runs.run_folder import RunFolder
from unet_exp.runs.summary import BestEpoch, Summary, Width
from unet_exp.samples.data_set import SPLITS
from unet_exp.training.callbacks import Callbacks, StopTogether, build_callbacks
from unet_exp.training.end_lines import check_overfit, describe_durations
from unet_exp.training.group import Group, SharedRun, find_place
from unet_exp.training.last_checkpoint import BestCheckpoint
from unet_exp.training.loggers import WANDB, Start, TrainingLogger, open_logger
from unet_exp.training.own_callbacks import describe_unsaved
from unet_exp.training.pace import PaceWatch, find_small_twin
from unet_exp.training.prepare import Job, prepare
from unet_exp.training.preview import make_preview
from unet_exp.training.profilers import explain_profile
from unet_exp.training.pruning import Pruning
from unet_exp.training.rerun import Rerun
from unet_exp.training.resume_point import ResumePoint, find_resume_point
from unet_exp.training.run_log import redirect_logs
from unet_exp.training.sanity import collect_warnings
from unet_exp.training.start_lines import show_start
from unet_exp.training.trainer import build_trainer, explain_loss, explain_workers

_trainings = itertools.count()
"""How many this process has begun."""


def train(
    config: Config,
    overrides: Sequence[str] = (),
    folder: RunFolder | None = None,
    pruning: Pruning | None = None,
    rerun: Rerun | None = None,
) -> RunFolder:
    """Runs one training.

    Args:
        config: what to train.
        overrides: the words of the command line, for the summary.
        folder: where it is recorded; None makes one below `<output>/train`.
        pruning: ends the training early if a search prunes it; a pruned training is not tested.
        rerun: the earlier run that this one repeats.

    Raises:
        UserError: for what the user can correct; before the folder exists wherever it can be found by then.
    """
    console = make_console()
    started = datetime.now(), time.monotonic()
    with ExitStack() as stack:
        stack.enter_context(signals.install_handlers())
        group = stack.enter_context(Group(config.trainer, find_place(config.trainer)))
        if not group.first:
            with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
                return _follow(config, overrides, group, stack)
        resume = find_resume_point(config, overrides, folder, stack)
        earlier = resume or rerun
        _set_threads(None if earlier is None else earlier.summary, group, stack)
        resumed = None if resume is None or resume.checkpoint is None else resume.folder.path
        if resumed is not None:
            config = keep_unrecorded(config, RunFolder(resumed), overrides)
            config = keep_places(config, RunFolder(resumed), overrides)
        with watch("preparing the training"):
            job = prepare(config, overrides, resumed, None if earlier is None else earlier.summary, group.place)
            if earlier is not None:
                earlier.check(job)
        folder = _make_folder(job.config, folder, resume, stack)
        checkpoint = None if resume is None else resume.checkpoint
        with redirect_logs(folder.log):
            training = _Training(job, folder, group, checkpoint, console, started, resume, pruning)
            with record_run(folder, training.describe(rerun)) as record:
                group.share(SharedRun.of(folder, checkpoint, job.conditions))
                training.fit(record)
                if record.summary.pruned_at is None:
                    with watch("testing"):
                        training.test(record)
        if profile := explain_profile(folder):
            console.print(profile, soft_wrap=True)
        console.print(f"{describe_durations(record.summary)}; everything is in")
        console.print(str(folder.path), style="bold", soft_wrap=True)
    return folder


def _follow(config: Config, overrides: Sequence[str], group: Group, stack: ExitStack) -> RunFolder:
    """Takes part in the training that the first process has prepared; that one alone prints and writes."""
    run = group.receive()
    folder, conditions = RunFolder(Path(run.folder)), Conditions(**run.conditions)
    checkpoint = None if run.checkpoint is None else Path(run.checkpoint)
    if not folder.path.is_dir() or not (checkpoint is None or checkpoint.is_file()):
        raise ConfigError(
            f"output: {folder.path} is not seen from {platform.node()}; all machines must share that disk"
        )
    _set_threads(conditions, group, stack)
    resumed = None if checkpoint is None else folder.path
    if resumed is not None:
        config = keep_unrecorded(config, folder, overrides)  # not the places: the first process alone opens loggers
    job = prepare(config, overrides, resumed, conditions, group.place)
    if job.conditions.data_fingerprint != conditions.data_fingerprint:
        raise DataError(f"the data on {platform.node()} are not those of the first process (their fingerprint differs)")
    with redirect_logs(None):
        training = _Training(job, folder, group, checkpoint, make_console(), (datetime.now(), time.monotonic()))
        with record_run(folder, training.describe(None), writes=False) as record:
            training.fit(record)
        group.wait_for_end()
    return folder


def _set_threads(earlier: Conditions | None, group: Group, stack: ExitStack) -> None:
    """Takes the threads of the earlier start, which change the rounding; restored for later runs of this process.

    Processes on one machine share its cores, as torchrun shares them by the same variable.
    """
    before = threads = torch.get_num_threads()
    if earlier is not None and earlier.threads is not None:
        threads = earlier.threads
    elif group.place.local_world > 1 and "OMP_NUM_THREADS" not in os.environ:
        threads = max(before // group.place.local_world, 1)
    if threads != before:
        stack.callback(torch.set_num_threads, before)
        torch.set_num_threads(threads)


def _make_folder(config: Config, folder: RunFolder | None, resume: ResumePoint | None, stack: ExitStack) -> RunFolder:
    """Makes or opens the folder, and locks it."""
    if resume is not None:
        folder = resume.folder
        resume.clean_up()
    elif folder is None:
        folder = RunFolder.create(Path(config.output) / "train", config.name)
        stack.enter_context(hold_lock(folder.lock))
    folder.prepare()
    if resume is None or resume.checkpoint is None:
        folder.write_config(config.model_dump())
    return folder


@dataclass
class _Training:
    """A training from its first step to its summary; `started` is the calendar and the monotonic time of its start."""

    job: Job
    folder: RunFolder
    group: Group
    checkpoint: Path | None
    console: Console
    started: tuple[datetime, float]
    resume: ResumePoint | None = None
    pruning: Pruning | None = None
    logger: TrainingLogger = field(default_factory=TrainingLogger)
    trainer: pl.Trainer | None = None
    callbacks: Callbacks | None = None
    scores: Scores = field(default_factory=Scores)

    @property
    def steps(self) -> int:
        """Optimizer steps, those before a resume included."""
        return 0 if self.trainer is None else self.trainer.global_step

    def describe(self, rerun: Rerun | None) -> Summary:
        """The summary at the start of the run."""
        job, config = self.job, self.job.config
        names = {part: getattr(job.dataset, part).names for part in SPLITS}
        split = self.folder.write_split(names) if self.group.first else {}
        summary = Summary(
            name=config.name,
            started=self.started[0].isoformat(timespec="milliseconds"),
            seed=config.seed,
            fold=config.data.fold if config.data.folds else None,
            overrides=job.overrides,
            **split,
            width=_width(job),
            parameters=job.parameters,
            macs=job.macs,
            warnings=collect_warnings(job),
            **job.conditions.model_dump(),
        )
        if rerun is not None:
            summary = summary.replace(rerun=rerun.describe())
        return summary if self.resume is None else self.resume.keep_first_start(summary)

    def fit(self, record: RunRecord) -> None:
        """Trains until the first limit, with callbacks and loggers."""
        job, folder = self.job, self.folder
        record.measure = self._measure
        if self.group.first:
            self._report_resume()
            record.at_end(lambda: self._write_page(record))  # behind the curves, to which it leads
            record.at_end(self._draw_curves)
            record.at_end(lambda: self._finish_logger(record))
            with watch("starting the logger"):
                self._open_logger(record)
            show_start(job, folder, self.logger, self.console)
            self._show_preview()
        if job.device.type == "cpu":
            keep_freed_memory()
        reset_peak_memory(job.device)
        record.note(trainings_before=next(_trainings))
        self.callbacks = build_callbacks(job.config, folder, job.dataset.val, job.metrics, job.steps, self.logger)
        together = [StopTogether()] if job.callbacks and self.group.shared else []
        extra = [
            *job.callbacks,
            *together,
            *self._watch_pace(record),
            *([] if self.pruning is None else [self.pruning]),
        ]
        callbacks = [*self.callbacks.all, *extra]
        if isinstance(job.config.logger, PictureLoggerConfig):
            job.module.pictures = 0 if self.group.first else job.config.logger.images
        self.group.connect(job.device)
        with (
            self.group.explain(f"; what was trained is kept; {explain_resume(folder)}"),
            watch("training") as phase,
            signals.defer(),
            explain_out_of_memory("take a smaller data.batch_size, data.tile or model.width"),
            explain_workers(folder),
            explain_loss(job.module.losses),
        ):
            self.trainer = build_trainer(job, folder, callbacks, self.logger.lightning, self.console, phase)
            self.trainer.fit(job.module, job.datamodule, ckpt_path=self.checkpoint, weights_only=True)
        history, best = self.callbacks.history, self.callbacks.best
        record.note(
            seconds_setup=round(history.start - self.started[1], 3),
            seconds_training=round(history.seconds, 1),
            best=_best_epoch(best),
        )
        limit = self.callbacks.limit
        if limit is not None and limit.ended and (job.steps is None or self.steps < job.steps):
            record.note(ended_by="trainer.max_time", planned_steps=job.steps, steps=self.steps)
        if self.pruning is not None and self.pruning.pruned_at is not None:
            record.note(pruned_at=self.pruning.pruned_at)

    def _watch_pace(self, record: RunRecord) -> list[PaceWatch]:
        """Where a CPU trains, which may be too slow."""
        limit = self.job.config.trainer.max_time
        if self.job.device.type != "cpu" or self.job.steps is None:
            return []
        seconds = None if limit is None else duration_seconds(limit)
        twin = find_small_twin(record.summary.overrides or ())
        return [PaceWatch(self.job.steps, seconds, lambda line: self._warn(record, line), twin)]

    def _warn(self, record: RunRecord, line: str) -> None:
        """Shows what is found after the start, and keeps it as what was found before."""
        self.console.print(f"warning: {line}", soft_wrap=True)
        logging.getLogger(__name__).info("warning: %s", line)
        record.note(warnings=[*(record.summary.warnings or ()), line])
        record.save()

    def test(self, record: RunRecord) -> None:
        """Scores and draws the test images with the best epoch, and draws the unlabelled ones."""
        job, folder, console, began = self.job, self.folder, self.console, time.monotonic()
        own = list_targets(job.config.model_dump()).values()
        with explain_out_of_memory("the training is kept; score it with evaluate.py and a smaller inference.tile"):
            predictor = Predictor(open_checkpoint(folder.best, trust=own), job.device.type, job.precision)
            self.scores = score_test(predictor, job.dataset, job.config.metrics, folder.predictions)
            unlabelled = score_split(predictor, job.dataset, "unlabelled", job.config.metrics, folder.predictions)
        if self.scores.metrics:
            write_scores(folder, self.scores, job.dataset.classes)
            scale = job.dataset.scale.tolerate(job.config.metrics.tolerance)
            if job.config.metrics.distances:
                record.note(distance_unit=scale.unit)
            console.print(
                *score_tables(self.scores.metrics, job.dataset.classes, "test", scale, job.config.metrics.own)
            )
            names = [spec.name for spec in job.dataset.classes]
            for line in warn_of_thresholds(self.scores.metrics, names, "test"):
                self._warn(record, line)
        for line in (describe_drawn(self.scores, "test"), describe_drawn(unlabelled, "unlabelled")):
            if line:
                console.print(line, soft_wrap=True)
        draw_scores(folder, self.scores, job.dataset.classes)
        self._log_score_pictures()
        record.note(seconds_test=round(time.monotonic() - began, 1))
        if job.config.trainer.overfit:
            assert self.callbacks is not None
            record.note(overfit=check_overfit(self.callbacks.history.losses, console))

    def _report_resume(self) -> None:
        resumed = self.checkpoint is not None
        for note in (
            *(self.resume.notes if self.resume else ()),
            *(describe_unsaved(self.job.callbacks) if resumed else ()),
        ):
            self.console.print(note, soft_wrap=True)
            logging.getLogger(__name__).info(note)

    def _open_logger(self, record: RunRecord) -> None:
        step = None if self.resume is None or self.resume.checkpoint is None else self.resume.step
        earlier = {**(record.summary.logger_ids or {}), WANDB: record.summary.wandb_id}
        self.logger = open_logger(Start(self.job.config, self.folder, step), earlier)
        if ids := dict(self.logger.run_ids):
            if WANDB in ids:
                record.note(wandb_id=ids.pop(WANDB), wandb_url=self.logger.urls.get(WANDB))
            if ids:
                record.note(logger_ids=ids)
            record.save()

    def _show_preview(self) -> None:
        """Draws the first patches, unless the training goes on after its first step."""
        count = self.job.config.preview
        if not count or (self.resume is not None and self.resume.checkpoint is not None):
            return
        with watch("drawing the preview"):
            preview = make_preview(self.job, count)
        write_image(self.folder.preview, preview.picture)
        self.logger.log_pictures({"preview": preview.picture}, 0)
        self.console.print(str(self.folder.preview), soft_wrap=True)

    def _log_score_pictures(self) -> None:
        """Sends the pictures of the test's scores, as far as they are drawn."""
        paths = (self.folder.confusion_picture, self.folder.curves_picture)
        pictures = {f"test/{path.stem}": read_image(path)[..., :3] for path in paths if path.is_file()}
        if pictures:
            self.logger.log_pictures(pictures, self.steps)

    def _measure(self) -> dict[str, Any]:
        before = self.callbacks.history.before if self.callbacks else 0.0
        return {
            "metrics": self.scores.metrics,
            "steps": self.steps,
            "epochs": 0 if self.trainer is None else self.trainer.current_epoch,
            "peak_memory": peak_memory(self.job.device),
            "seconds": round(time.monotonic() - self.started[1] + before, 1),
        }

    def _draw_curves(self) -> None:
        if self.folder.metrics.is_file():
            monitor, own = self.job.config.trainer.monitor, self.job.config.metrics.own
            with warn_of_failure(self.folder.curves):
                draw_curves(self.folder.metrics, self.folder.curves, monitor, direction(monitor, own))

    def _write_page(self, record: RunRecord) -> None:
        """Writes the page of the run; one that cannot be written is a warning."""
        with warn_of_failure(self.folder.page):
            write_run_page(self.folder, record.summary, self.job.dataset.classes)

    def _finish_logger(self, record: RunRecord) -> None:
        with watch("ending the run"):
            self.logger.finish(self.scores.metrics, self.steps, failed=record.summary.error is not None)


def _width(job: Job) -> Width | None:
    """The width as typed and as `model.match` resolved it; only the U-Net has one."""
    model, architecture = job.config.model, job.module.network.architecture
    if isinstance(model, UNetConfig) and isinstance(architecture, Architecture):
        return Width(requested=model.width, resolved=architecture.width)
    return None


def _best_epoch(checkpoint: BestCheckpoint) -> BestEpoch | None:
    score = checkpoint.best_model_score
    return None if score is None else BestEpoch(monitor=str(checkpoint.monitor), value=score.item())
