"""A Weights & Biases run that never asks for a key and never fails a training.

What goes wrong on W&B's side (no key, a rejected key, no network, a dead service process) costs a bounded
time and one warning: an online run that cannot be had becomes an offline one (`wandb sync` sends it later);
one that dies half-way leaves the training to its CSV. W&B is silent: the progress bar owns the terminal.
"""

import contextlib
import logging
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import wandb
from numpy.typing import NDArray
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from unet_exp.config import IGNORE_LABEL

Mode = Literal["online", "offline", "disabled"]

STEP_KEY: Final = "trainer/global_step"  # the x-axis that Lightning's logger gives to every metric

_FALLBACKS: Final[Sequence[tuple[Mode, Mode]]] = [("online", "offline"), ("offline", "disabled")]
_FORMER_MODES: Final = {"run": "online", "dryrun": "offline"}

_log = logging.getLogger(__name__)


def resolve_mode(mode: str) -> Mode:
    """Decide whether a run goes online, offline or nowhere; asks neither the user nor the network.

    Args:
        mode: `online`, `offline`, `disabled`, or `auto`: WANDB_MODE where it is set, else online where a key
            is found, else offline. A typed mode is stronger than WANDB_MODE.

    Returns:
        `online` only where there is a key: without one W&B would stop and ask.
    """
    wanted, source = mode, f"mode={mode}"
    if mode == "auto" and (variable := os.environ.get("WANDB_MODE")):
        wanted, source = _FORMER_MODES.get(variable, variable), f"WANDB_MODE={variable}"
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
    *,
    project: str,
    name: str,
    config: Mapping[str, Any],
    mode: str = "auto",
    entity: str | None = None,
    group: str | None = None,
    tags: Sequence[str] = (),
    run_id: str | None = None,
    init_timeout: float = 20.0,
    finish_timeout: float = 60.0,
) -> wandb.Run:
    """Open a run: online if it can be had within `init_timeout`, else offline, at worst disabled.

    For the main process (rank zero) alone. A run that is still open in it is finished first.

    Args:
        directory: The run folder; W&B's files go to `directory/wandb/`.
        project: W&B project.
        name: Display name; what exceeds W&B's 128 characters is cut, as in `group` (and 64 in a tag).
        config: Plain containers.
        mode: As in `resolve_mode`.
        entity: User or team; None is the key's own.
        group: Shared by the runs of one sweep or one k-fold.
        tags: Words to filter by; empty ones are left out.
        run_id: Id of the run that a resumed training goes on with; None starts a new one.
        init_timeout: Seconds to wait for the server.
        finish_timeout: Seconds that the end of the run may spend on uploads.

    Returns:
        The open run; `run.offline` and `run.disabled` say what became of it.
    """
    identity = run_id or secrets.token_hex(4)
    directory.mkdir(parents=True, exist_ok=True)

    def start(chosen: Mode) -> wandb.Run:
        _set_up(chosen)
        return wandb.init(
            mode=chosen,
            dir=directory,
            project=project,
            entity=entity,
            name=name[:128],
            group=group[:128] if group else None,
            tags=[tag[:64] for tag in tags if tag],
            config=dict(config),
            id=identity,
            resume="allow" if run_id else None,
            reinit="finish_previous",
            settings=wandb.Settings(init_timeout=init_timeout, finish_timeout=finish_timeout),
        )

    if wandb.run is not None:  # as long as one is open, W&B says that there is no key
        finish(wandb.run)
    resolved = resolve_mode(mode)
    former_folders = set((directory / "wandb").glob("*run-*"))
    for chosen, fallback in _FALLBACKS:
        if resolved == chosen:
            with _guarded(f"the run cannot start {chosen}; it is {fallback}"):
                return start(chosen)
            _stop_service()
            for empty in set((directory / "wandb").glob("*run-*")) - former_folders:
                shutil.rmtree(empty, ignore_errors=True)
            resolved = fallback
    return start("disabled")


def lightning_logger(run: wandb.Run, directory: Path) -> WandbLogger:
    """Return Lightning's logger for an open run; `directory`, the run folder, is its `save_dir`."""
    with _guarded("the charts have no step axis"):
        run.define_metric(STEP_KEY)
        run.define_metric("*", step_metric=STEP_KEY, step_sync=True)
    logger = _GuardedLogger(experiment=run, save_dir=str(directory), project=run.project, name=run.name, version=run.id)
    if run.resumed:
        with _guarded("what it has logged before is logged twice"):
            logger.know(dict(run.summary))
    return logger


def log_predictions(
    run: wandb.Run,
    *,
    step: int,
    epoch: int,
    names: Sequence[str],
    images: Sequence[NDArray[np.uint8]],
    truths: Sequence[NDArray[np.uint8] | None],
    predictions: Sequence[NDArray[np.uint8]],
    class_names: Sequence[str],
) -> None:
    """Log images with their masks, one key `predictions/<name>` an image, so that a slider shows its epochs.

    Args:
        run: An open run.
        step: Optimizer steps so far.
        epoch: Epochs so far.
        names: One name an image, the same in every epoch.
        images: `(H, W)` or `(H, W, C)`; three channels are shown as RGB, else the first one as grey.
        truths: `(H, W)` labels, 255 shown as "ignored"; None for an image without labels.
        predictions: `(H, W)` labels; a mask that is not as high and wide as its image is a ValueError.
        class_names: The names of label 0, 1, ...
    """
    labels = {**dict(enumerate(class_names)), IGNORE_LABEL: "ignored"}
    pictures: dict[str, tuple[NDArray[np.uint8], dict[str, Any]]] = {}
    for name, image, truth, prediction in zip(names, images, truths, predictions, strict=True):
        shown = image if image.ndim == 2 or image.shape[2] == 3 else image[..., 0]
        layers = {}
        for kind, mask in {"prediction": prediction, "ground_truth": truth}.items():
            if mask is not None:
                if mask.shape != shown.shape[:2]:
                    raise ValueError(f"{name}: the {kind} is {mask.shape}, its image {shown.shape[:2]}")
                layers[kind] = {"mask_data": mask, "class_labels": labels}
        pictures[f"predictions/{_safe(name)}"] = (shown, layers)
    with _guarded("prediction images are not logged"):
        media = {key: wandb.Image(shown, masks=layers) for key, (shown, layers) in pictures.items()}
        run.log({**media, STEP_KEY: step, "epoch": epoch})


def log_checkpoint_artifact(
    run: wandb.Run, path: Path, name: str, metadata: Mapping[str, Any], aliases: Sequence[str] = ("best",)
) -> None:
    """Log a checkpoint as an artifact of type `model`; an offline run's is uploaded by `wandb sync`.

    The file is read where it lies, not copied: log it when nothing will overwrite it any more. If the network
    died since the run began, this takes 20 seconds (W&B asks for the artifact's type first), then warns.
    """
    with _guarded(f"{path.name} is not logged as an artifact"):
        artifact = wandb.Artifact(_safe(name), type="model", metadata=dict(metadata))
        artifact.add_file(str(path), name=path.name, policy="immutable", skip_cache=True)
        run.log_artifact(artifact, aliases=list(aliases))


def finish(run: wandb.Run, exit_code: int = 0) -> None:
    """Finish a run within its `finish_timeout`; an `exit_code` other than 0 marks it failed."""
    with _guarded("not everything was uploaded; `wandb sync` on the run's folder under wandb/ sends it"):
        run.finish(exit_code=exit_code)
        return
    _stop_service()


class _GuardedLogger(WandbLogger):
    """Lightning's logger, but the death of W&B's service process ends the logging, not the training.

    Where a resumed run goes on, what the server has already is not sent again.
    """

    _dead = False
    _known_keys: AbstractSet[str] = frozenset()
    _known_step = -1

    def know(self, summary: Mapping[str, Any]) -> None:
        """Takes in what a run has logged before it was resumed."""
        self._known_keys, self._known_step = set(summary), summary.get(STEP_KEY, -1)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        known = step is not None and step <= self._known_step and metrics.keys() <= self._known_keys
        if not self._dead and not known:
            self._dead = True
            with _guarded("from here on metrics go to the CSV alone"):
                super().log_metrics(metrics, step)
                self._dead = False

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        with _guarded("the hyperparameters are not logged"):
            super().log_hyperparams(params)


@contextlib.contextmanager
def _guarded(consequence: str) -> Iterator[None]:
    """Turn whatever W&B raises into one warning that says what follows from it.

    That is its own errors, `OSError` where its service is gone, and bare `Exception`s of private modules (an
    id in use: `ServerResponseError`). No narrower net holds them all, and a training must outlive each.
    """
    try:
        yield
    except Exception as error:
        _log.warning("W&B: %s (%s: %s)", consequence, type(error).__name__, str(error).partition("\n")[0])
        _log.debug("the error in full", exc_info=True)


def _set_up(mode: Mode) -> None:
    """Set W&B's settings for this process: silent, and with our mode before that of WANDB_MODE."""
    wandb.setup(wandb.Settings(silent=True, console="off", finish_timeout_raises=True, mode=mode))
    logging.getLogger("wandb").propagate = False  # its log has a file of its own in the run's folder


def _has_key() -> bool:
    """Tell whether W&B finds a key in the environment, its settings or a netrc file."""
    with _guarded("the key cannot be used"):
        _set_up("online")  # offline, W&B does not look for a key
        return wandb.login(prompt=False, verify=False)
    return False


def _stop_service() -> None:
    """Stop W&B's service process, which may be dead or may still hold a failed run's id as "in use".

    The next run starts a new one.
    """
    with contextlib.suppress(Exception, SystemExit):  # it exits where the service ended badly
        wandb.teardown()


def _safe(name: str) -> str:
    """Return a name that is legal as a W&B key, an artifact's name and a file name."""
    return re.sub(r"[^\w.-]+", "_", name)
