"""A Weights & Biases run that never asks for a key and never fails a training.

A problem of W&B (no key, a rejected key, no network, a dead service process) costs a bounded time and one warning: a
run that cannot go online goes offline (`wandb sync` sends it later); one that dies half-way leaves the training to its
CSV. W&B prints nothing: the progress bar owns the terminal.
"""

import contextlib
import logging
import re
import secrets
import shlex
import shutil
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from unet_exp.config import IGNORE_LABEL
from unet_exp.config.loggers import WandbConfig
from unet_exp.figures.overlay import view_as_rgb
from unet_exp.files import shorten_path
from unet_exp.runs.run_folder import RunFolder
from unet_exp.runs.wandb_variables import choose_mode, explain_unused, hide_recorded
from unet_exp.training.loggers.interface import LOGGERS, Predictions, RunLogger, Start, warn_on_error

if TYPE_CHECKING:  # else it is imported where it is used: a third of what a training of another logger imports
    import wandb

Mode = Literal["online", "offline", "disabled"]

STEP_KEY: Final = "trainer/global_step"  # the x-axis of every metric, named as Lightning's own logger does

_FALLBACKS: Final[Sequence[tuple[Mode, Mode]]] = [("online", "offline"), ("offline", "disabled")]

_log = logging.getLogger(__name__)


class WandbRun(RunLogger):
    """Logs to an open W&B run; a resumed run does not send again what the server already has.

    Args:
        run: see `open_run`.
        folder: whose best checkpoint becomes an artifact at the end; None for none.
    """

    title = "W&B"

    def __init__(self, run: "wandb.Run", folder: RunFolder | None = None) -> None:
        self.run_id, self.place = run.id, describe_place(run)
        self.url = None if run.disabled or run.offline else run.url
        self._run, self._folder = run, folder
        self._known_keys: AbstractSet[str] = frozenset()
        self._known_step = -1
        with warn_on_error("W&B", "the charts have no step axis"):
            run.define_metric(STEP_KEY)
            run.define_metric("*", step_metric=STEP_KEY, step_sync=True)
        if run.resumed:
            with warn_on_error("W&B", "what it has logged before is logged twice"):
                summary = dict(run.summary)
                self._known_keys, self._known_step = set(summary), summary.get(STEP_KEY, -1)

    @classmethod
    def open(cls, start: Start) -> "WandbRun":
        """Opens a new run, or the run of the resumed training."""
        config, settings = start.config, start.config.logger
        assert isinstance(settings, WandbConfig)
        run = open_run(start.folder.path, config.name, config.model_dump(), settings, start.run_id)
        if not run.disabled and not start.folder.is_of_sweep and (warning := explain_unused()):  # a sweep says it once
            _log.warning("%s", warning)
        return cls(run, start.folder if settings.log_checkpoint else None)

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Sends numbers."""
        if step > self._known_step or not metrics.keys() <= self._known_keys:
            self._run.log({**metrics, STEP_KEY: step})

    def log_predictions(self, predictions: Predictions) -> None:
        """Logs images with their masks under `predictions/<name>`, so that a slider shows the epochs."""
        import wandb

        names = {**dict(enumerate(spec.name for spec in predictions.classes)), IGNORE_LABEL: "ignored"}
        media = {}
        for sample, predicted in zip(predictions.samples, predictions.labels, strict=True):
            masks = {"prediction": predicted}
            if sample.label is not None:
                masks["ground_truth"] = sample.label
            layers = {kind: {"mask_data": mask, "class_labels": names} for kind, mask in masks.items()}
            media[f"predictions/{_make_safe(sample.name)}"] = wandb.Image(
                view_as_rgb(sample.image, sample.valid), masks=layers
            )
        self._run.log({**media, STEP_KEY: predictions.step, "epoch": predictions.epoch})

    def log_pictures(self, pictures: Mapping[str, NDArray[np.uint8]], step: int) -> None:
        """Logs pictures under their names."""
        import wandb

        media = {_make_safe(name): wandb.Image(picture) for name, picture in pictures.items()}
        self._run.log({**media, STEP_KEY: step})

    def finish(self, metrics: Mapping[str, float], failed: bool) -> None:
        """Logs the best checkpoint if the config says so, and finishes the run."""
        if self._folder is not None and self._folder.best.exists():
            log_checkpoint_artifact(self._run, self._folder.best, self._folder.path.name, metrics)
        finish(self._run, exit_code=int(failed))


LOGGERS["wandb"] = WandbRun


def resolve_mode(mode: str) -> Mode:
    """Decides between online, offline and disabled; asks neither the user nor the network.

    Args:
        mode: see `choose_mode`; `auto` is online if a key is found, else offline.

    Returns:
        `online` only with a key: without one W&B would stop and ask.
    """
    wanted, source = choose_mode(mode)
    resolved: Mode = "disabled" if wanted == "disabled" else "offline"
    if wanted in ("auto", "online") and _has_key():
        resolved = "online"
    elif wanted == "online":
        _log.warning("W&B: %s, but there is no usable key (`wandb login`); the run is offline", source)
    elif wanted not in ("auto", resolved):
        _log.warning("W&B: %s is none of auto, online, offline, disabled; the run is offline", source)
    _log.info("W&B mode: %s (%s)", resolved, source)
    return resolved


def open_run(
    directory: Path,
    name: str,
    config: Mapping[str, Any],
    settings: WandbConfig,
    run_id: str | None = None,
    finish_timeout: float = 60.0,
) -> "wandb.Run":
    """Opens a run: online within `settings.init_timeout`, else offline, at worst disabled.

    For the first process only. It finishes a run that is still open in this process.

    Args:
        directory: the run folder; W&B's files go to `directory/wandb/`.
        name: display name; W&B's limit of 128 characters cuts it, as it cuts the group (and 64 a tag).
        config: plain containers.
        settings: project, entity (None: that of the key), group, tags and timeout.
        run_id: id of the run that a resumed training continues; None starts a new one.
        finish_timeout: seconds that the end of the run may spend on uploads.

    Returns:
        The open run; `run.offline` and `run.disabled` tell its mode.
    """
    import wandb

    directory.mkdir(parents=True, exist_ok=True)
    run: dict[str, Any] = {
        "dir": directory,
        "project": settings.project,
        "entity": settings.entity,
        "name": name[:128],
        "group": settings.group[:128] if settings.group else None,
        "tags": [tag[:64] for tag in settings.tags if tag],
        "config": dict(config),
        "id": run_id or secrets.token_hex(4),
        "resume": "allow" if run_id else None,
        "settings": wandb.Settings(init_timeout=settings.init_timeout, finish_timeout=finish_timeout),
    }
    if wandb.run is not None:  # while one is open, W&B reports that there is no key
        finish(wandb.run)
    resolved = resolve_mode(settings.mode)
    former_folders = set((directory / "wandb").glob("*run-*"))
    for chosen, fallback in _FALLBACKS:
        if resolved == chosen:
            with warn_on_error("W&B", f"the run cannot start {chosen}; it is {fallback}"):
                return _start(chosen, run)
            _stop_service()
            for empty in set((directory / "wandb").glob("*run-*")) - former_folders:
                shutil.rmtree(empty, ignore_errors=True)
            resolved = fallback
    return _start("disabled", run)


def _start(mode: Mode, run: Mapping[str, Any]) -> "wandb.Run":
    import wandb

    with hide_recorded():
        _configure(mode)
        return wandb.init(mode=mode, reinit="finish_previous", **run)


def log_checkpoint_artifact(run: "wandb.Run", path: Path, name: str, metadata: Mapping[str, Any]) -> None:
    """Logs a checkpoint as an artifact of type `model`; `wandb sync` uploads that of an offline run.

    The file is not copied: log it when nothing overwrites it any more. If the network has died since the run began,
    this takes 20 seconds (W&B first asks for the artifact's type), then warns.
    """
    import wandb

    with warn_on_error("W&B", f"{path.name} is not logged as an artifact"):
        artifact = wandb.Artifact(_make_safe(name), type="model", metadata=dict(metadata))
        artifact.add_file(str(path), name=path.name, policy="immutable", skip_cache=True)
        run.log_artifact(artifact, aliases=["best"])


def finish(run: "wandb.Run", exit_code: int = 0) -> None:
    """Finishes a run within its `finish_timeout`; an `exit_code` other than 0 marks it as failed."""
    import wandb

    with warn_on_error("W&B", "not everything was uploaded; `wandb sync` on the run's folder under wandb/ sends it"):
        run.finish(exit_code=exit_code)
        return
    _stop_service()
    if wandb.run is run:  # W&B keeps one that it could not finish, and the next run would warn of it again
        wandb.run = None


def _configure(mode: Mode) -> None:
    """Makes W&B silent in this process, with our mode before WANDB_MODE."""
    import wandb

    wandb.setup(wandb.Settings(silent=True, console="off", finish_timeout_raises=True, mode=mode))
    logging.getLogger("wandb").propagate = False  # its log has a file of its own in the run's folder


def describe_place(run: "wandb.Run") -> str:
    """Where a run is, and how an offline one gets there."""
    if run.disabled:
        return "disabled"
    if not run.offline:
        return str(run.url)
    folder = shorten_path(Path(run.dir).parent)
    project = "/".join(filter(None, (run.entity, run.project)))
    return f"offline, {project}; send it after wandb login: wandb sync {shlex.quote(folder)}"


def _has_key() -> bool:
    """Whether W&B finds a key in the environment, its settings or a netrc file."""
    import wandb

    with warn_on_error("W&B", "the key cannot be used"), hide_recorded():
        _configure("online")  # offline, W&B does not look for a key
        return wandb.login(prompt=False, verify=False)
    return False


def _stop_service() -> None:
    """Stops W&B's service process, which may be dead or hold the id of a failed run; the next run starts a new one."""
    import wandb

    with contextlib.suppress(Exception, SystemExit):  # it exits where the service ended badly
        wandb.teardown()


def _make_safe(name: str) -> str:
    """A name that is legal as a W&B key, as an artifact's name and as a file name."""
    return re.sub(r"[^\w.-]+", "_", name)
