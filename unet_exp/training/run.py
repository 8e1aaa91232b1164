"""One training from its config to its folder: data, network, fit, test with the best epoch, summary, pictures."""

import logging
import re
import shlex
import signal
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import Logger
from pytorch_lightning.profilers import Profiler, PyTorchProfiler, SimpleProfiler
from rich.console import Console

from unet_exp import signals
from unet_exp.checkpoints.checkpoint import custom_targets, open_checkpoint
from unet_exp.config import Config, duration_seconds
from unet_exp.config.learning import CustomLossConfig
from unet_exp.config.model import UNetConfig
from unet_exp.errors import TrainingError
from unet_exp.figures.curves import draw_curves
from unet_exp.files import locked
from unet_exp.geometry import Architecture, layer_table, output_size
from unet_exp.inference.device import explain_out_of_memory, peak_memory, reset_peak_memory
from unet_exp.inference.predictor import Predictor
from unet_exp.inference.scoring import Scores, score_split, score_tables, score_test
from unet_exp.losses.custom import try_loss
from unet_exp.runs.earlier import AUTO, find, still_running
from unet_exp.runs.folder import RunFolder, refuse_links
from unet_exp.training import processes
from unet_exp.training.callbacks import History, build_callbacks
from unet_exp.training.checkpoint_io import WholeCheckpoints
from unet_exp.training.loggers import build_loggers, finish_loggers, wandb_id
from unet_exp.training.prepare import Job, prepare
from unet_exp.training.progress_bar import TrainingProgress
from unet_exp.training.pruning import Pruning
from unet_exp.training.resume_point import Past, past_of_sweep
from unet_exp.training.run_log import logged_to


def train(
    config: Config,
    overrides: Sequence[str] = (),
    folder: RunFolder | None = None,
    pruning: Pruning | None = None,
    repeats: Mapping[str, Any] | None = None,
) -> RunFolder:
    """Runs one training.

    Args:
        config: what to train.
        overrides: what was typed, for the summary.
        folder: where it is recorded; None makes one below `<output>/train`.
        pruning: ends the training early, if a search does not believe in it any more; then it is not tested.
        repeats: what the summary says under `rerun` of an earlier run that this one repeats.

    Returns:
        The run's folder.

    Raises:
        UserError: for what can be mended; before the folder is made wherever it can be found by then.
    """
    # Names of the user's may hold brackets and colons, which are no markup.
    console = Console(highlight=False, markup=False, emoji=False)
    begin = datetime.now(), time.monotonic()
    with ExitStack() as held:
        held.enter_context(signals.install_handlers())
        past = _past(config, folder, held) if processes.is_first() else None
        if past is not None and past.threads is not None:
            held.callback(torch.set_num_threads, torch.get_num_threads())  # further runs of this process have their own
            torch.set_num_threads(past.threads)
        job = prepare(config, overrides, _resumed(past))
        if isinstance(config.loss, CustomLossConfig):
            try_loss(config.loss, job.module.hparams["class_weights"], len(job.dataset.classes), config.data.tile)
        if past is not None:
            past.check(job.conditions)
        if processes.is_first():
            for line in _network_table(job):
                console.print(line, soft_wrap=True)
            _advise(job, console)
            folder = _make_folder(config, folder, past, held)
        else:
            folder = processes.folder_of_first()
        with logged_to(folder.log):
            return _run(job, folder, console, pruning, begin, past, repeats)


def _past(config: Config, folder: RunFolder | None, held: ExitStack) -> Past | None:
    """What the run goes on with, its folder locked; None for a new run.

    A sweep gives the folders of its runs, and holds their locks itself.
    """
    if folder is not None:
        return past_of_sweep(folder, config) if folder.has_checkpoint else None
    while folder := find(config):
        refuse_links(folder.path)
        try:
            held.enter_context(locked(folder.lock))
        except BlockingIOError:
            if config.resume == AUTO:  # another process has just taken it
                continue
            raise still_running(folder) from None
        return Past.of(folder)
    if config.resume is not None:
        print(f"resume={config.resume}: there is no unfinished run of this config; this is a new one")
    return None


def _resumed(past: Past | None) -> Path | None:
    """The folder of the run whose checkpoint the training goes on from; None where it starts from the beginning."""
    if processes.is_first():
        return None if past is None or past.checkpoint is None else past.folder.path
    folder = processes.folder_of_first()
    return folder.path if processes.checkpoint_of_first() else None


def _network_table(job: Job) -> list[str]:
    """The U-Net layer by layer; of a user's own network what is known."""
    architecture, size = job.module.network.architecture, job.datamodule.input_size
    if isinstance(architecture, Architecture):
        return layer_table(architecture, size)
    given = output_size(architecture, size)
    macs = "" if job.macs is None else f", {job.macs:,} MACs"
    return [f"{architecture.target}: {size} -> {given} pixels, {job.parameters:,} parameters{macs}"]


def _advise(job: Job, console: Console) -> None:
    warmup = job.config.scheduler.warmup_steps
    if job.steps is not None and warmup >= job.steps:
        console.print(
            f"warning: the training ends after {job.steps} steps, within scheduler.warmup_steps={warmup}: "
            "optimizer.lr is never reached",
            soft_wrap=True,
        )


def _make_folder(config: Config, folder: RunFolder | None, past: Past | None, held: ExitStack) -> RunFolder:
    """The run's folder, ready and locked; further processes of a distributed training will find it."""
    if folder is None and past is None:
        folder = RunFolder.create(Path(config.output) / "train", config.name)
        held.enter_context(locked(folder.lock))
    elif past is not None:
        folder = past.folder
        if past.checkpoint is None:
            folder.clear()
        elif past.checkpoint == folder.previous:
            folder.last.unlink(missing_ok=True)  # damaged: it must not take the place of the one before
    assert folder is not None
    processes.tell(folder, None if past is None else past.checkpoint)
    return folder.prepared()


def _run(
    job: Job,
    folder: RunFolder,
    console: Console,
    pruning: Pruning | None,
    begin: tuple[datetime, float],
    past: Past | None,
    repeats: Mapping[str, Any] | None,
) -> RunFolder:
    config, dataset = job.config, job.dataset
    when, started = begin
    checkpoint = processes.checkpoint_of_first()
    summary: dict[str, Any] = {
        "status": "running",
        "metrics": {},
        "name": config.name,
        "started": when.isoformat(timespec="milliseconds"),
        "seed": config.seed,
        "fold": config.data.fold if config.data.folds else None,
        "overrides": job.overrides,
        "split": {
            part: [sample.name for sample in getattr(dataset, part)] for part in ("train", "val", "test", "unlabelled")
        },
        "width": _width(job),
        "parameters": job.parameters,
        "macs": job.macs,
        **job.conditions.model_dump(),
    }
    if repeats is not None:
        summary["rerun"] = dict(repeats)
    first = processes.is_first()
    if past is not None:
        for note in past.notes:
            console.print(note, soft_wrap=True)
            logging.getLogger(__name__).info(note)
        summary |= past.of_first_start(summary["started"])
    if first:
        if checkpoint is None:
            folder.write_config(config.model_dump())
        folder.write_summary(summary)
    reset_peak_memory(job.device)
    loggers: list[Logger] = []
    trainer: pl.Trainer | None = None
    scores = Scores()
    history: History | None = None
    try:
        if first:
            step = None if past is None or past.checkpoint is None else past.step
            loggers += build_loggers(config, folder, step, summary.get("wandb_id"))
            if run_id := wandb_id(loggers):
                summary["wandb_id"] = run_id
                folder.write_summary(summary)
        callbacks = build_callbacks(config, folder, dataset.val, job.metrics, job.steps, first)
        history = next(callback for callback in callbacks if isinstance(callback, History))
        best = next(callback for callback in callbacks if isinstance(callback, ModelCheckpoint) and callback.monitor)
        if pruning is not None:
            callbacks.append(pruning)
        trainer = _lightning(job, folder, callbacks, loggers, console)
        with (
            signals.defer(),
            explain_out_of_memory("take a smaller data.batch_size, data.tile or model.width"),
            _dead_worker_told(folder),
            warnings.catch_warnings(),
        ):
            # Lightning looks for a loader that can go on in mid-epoch; here the sampler does.
            warnings.filterwarnings("ignore", ".*dataloader is not resumable")
            trainer.fit(job.module, job.datamodule, ckpt_path=checkpoint, weights_only=True)
        summary["seconds_setup"] = round(history.start - started, 3)
        summary["seconds_training"] = round(history.seconds, 1)
        summary["best"] = _best_epoch(best)
        pruned_at = None if pruning is None else pruning.pruned_at
        if pruned_at is not None:
            summary["pruned_at"] = pruned_at
        elif first:
            with explain_out_of_memory("the training is kept; score it with evaluate.py and a smaller inference.tile"):
                scores = _test(job, folder, console)
            if config.trainer.overfit:
                summary["overfit"] = _overfit_verdict(history.losses, console)
        summary["status"] = "finished" if pruned_at is None else "stopped"
    except (signals.Stopped, KeyboardInterrupt, SystemExit):  # into the last one Lightning turns Ctrl-C
        stop = signals.Stopped(signals.received() or signal.SIGINT, _how_to_go_on(folder))
        summary |= {"status": "stopped", "error": f"stopped by {stop.signum.name}"}
        if not first:  # the first process tells it, and must not find that this one has failed
            raise SystemExit(0) from None
        raise stop from None
    except BaseException as error:
        summary |= {"status": "failed", "error": f"{type(error).__name__}: {error}"}
        if isinstance(error, FileNotFoundError) and not folder.path.exists():
            raise TrainingError(f"{folder.path}: the run's folder is gone, and with it what was trained") from None
        if isinstance(error, OSError) and folder.has_checkpoint:
            console.print(f"what was trained is kept; when that is mended, {_how_to_go_on(folder)}", soft_wrap=True)
        raise
    finally:
        steps = 0 if trainer is None else trainer.global_step
        summary |= {
            "metrics": scores.metrics,
            "steps": steps,
            "epochs": 0 if trainer is None else trainer.current_epoch,
            "peak_memory": peak_memory(job.device),
            "seconds": round(time.monotonic() - started + (history.before if history else 0), 1),
        }
        if first and folder.path.exists():
            # From the last to the first, each even if one before it fails; W&B may take a minute. That a run is over is
            # told when all is done, since it cannot be resumed then; that it has been broken off is told at once.
            over = "error" not in summary
            with ExitStack() as end:
                if over:  # nothing is left to go on with, and a signal that comes now only ends what is under way
                    end.enter_context(suppress(signals.Stopped))
                    end.callback(folder.write_summary, summary)
                if folder.metrics.exists():
                    monitored = config.trainer.monitor, config.trainer.monitor_mode
                    end.callback(draw_curves, folder.metrics, folder.curves, *monitored)
                end.callback(finish_loggers, loggers, config, folder, scores.metrics, steps, "error" in summary)
                if not over:
                    end.callback(folder.write_summary, summary)
    if first:
        console.print(f"{steps} steps in {summary['seconds_training']:.0f} s; everything is in")
        console.print(str(folder.path), style="bold", soft_wrap=True)
    return folder


def _how_to_go_on(folder: RunFolder) -> str:
    return f"go on with {shlex.quote(f'resume={folder.path}')}"


@contextmanager
def _dead_worker_told(folder: RunFolder) -> Iterator[None]:
    """Turns the death of a process that reads the data into one line."""
    try:
        yield
    except RuntimeError as error:
        if re.match(r"DataLoader worker \(pid", str(error)) is None:
            raise
        raise TrainingError(
            "a process that reads the data was killed, as a system does that runs out of memory: take fewer "
            f"data.num_workers, and {_how_to_go_on(folder)}"
        ) from None


def _width(job: Job) -> dict[str, int] | None:
    """As it was typed and as `model.match` resolved it; only the U-Net has one."""
    model, architecture = job.config.model, job.module.network.architecture
    if isinstance(model, UNetConfig) and isinstance(architecture, Architecture):
        return {"requested": model.width, "resolved": architecture.width}
    return None


def _lightning(job: Job, folder: RunFolder, callbacks: list[Any], loggers: list[Any], console: Console) -> pl.Trainer:
    settings = job.config.trainer
    limit = settings.limit_batches or 1.0
    seconds = None if settings.max_time is None else duration_seconds(settings.max_time)
    profilers: dict[str, type[Profiler]] = {"simple": SimpleProfiler, "pytorch": PyTorchProfiler}
    profiler = profilers[settings.profiler](folder.path, "profile") if settings.profiler else None
    precision: Any = "32-true" if job.precision == "32" else job.precision
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pl.Trainer(
            accelerator=job.device.type,
            devices=job.processes,
            strategy="auto" if job.processes == 1 else "ddp",
            precision=precision,
            logger=loggers or False,
            callbacks=[*callbacks, TrainingProgress(console, job.steps, seconds, settings.monitor)],
            # The limits are callbacks, because Lightning's own leave without a last validation.
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
            # Not SLURM's environment, by which Lightning requeues jobs and saves at moments of its own.
            plugins=[WholeCheckpoints(folder), LightningEnvironment()],
            use_distributed_sampler=False,
            default_root_dir=folder.path,
        )


def _test(job: Job, folder: RunFolder, console: Console) -> Scores:
    """Scores the test images with the best epoch and draws them, and the unlabelled ones."""
    own = custom_targets(job.config.model_dump()).values()
    predictor = Predictor(open_checkpoint(folder.best, trust=own), job.device.type, job.precision)
    quiet = not console.is_terminal
    scores = score_test(predictor, job.dataset, job.config.metrics, folder.predictions, quiet)
    score_split(predictor, job.dataset, "unlabelled", job.config.metrics, folder.predictions, quiet=quiet)
    if scores.metrics:
        folder.write_scores(scores.per_image, scores.per_threshold)
        console.print(*score_tables(scores.metrics, job.dataset.classes, "test"))
    return scores


def _best_epoch(checkpoint: ModelCheckpoint) -> dict[str, Any] | None:
    """The best epoch's validation score; what a search looks at."""
    if checkpoint.best_model_score is None:
        return None
    return {"monitor": checkpoint.monitor, "value": checkpoint.best_model_score.item()}


def _overfit_verdict(losses: Sequence[float], console: Console) -> dict[str, Any]:
    first, last = losses[0], losses[-1]
    fell = last < 0.1 * first
    advice = "; it should fall below a tenth: look at predictions/, optimizer.lr and trainer.max_steps"
    verdict = f"overfitting one batch: the loss went from {first:.4f} to {last:.4f}" + ("" if fell else advice)
    if not fell:
        raise TrainingError(verdict)
    console.print(verdict)
    return {"fell": fell, "first": first, "last": last, "verdict": verdict}
