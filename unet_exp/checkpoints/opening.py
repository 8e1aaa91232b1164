"""The door for every checkpoint: a training's `.ckpt`, a run's folder, an exported `.onnx` or `.safetensors`."""

import glob
import json
import shlex
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from torch import Tensor

from unet_exp.checkpoints import onnx_model, safetensors_file
from unet_exp.checkpoints.checkpoint import Checkpoint
from unet_exp.checkpoints.reading import NETWORK_PREFIX, STEP, WEIGHTS, read_content
from unet_exp.checkpoints.record import KEY
from unet_exp.errors import DataError, UserError

_BEST, _LAST = "best.ckpt", ("last.ckpt", "last-1.ckpt")
KEY_OF_COMMANDS = "checkpoint"


def open_checkpoint(path: str | Path, trust: Collection[str] = (), key: str = KEY_OF_COMMANDS) -> Checkpoint:
    """Opens a checkpoint, or an exported network, without running any code in it.

    Args:
        path: the file, or a run's folder, whose `best.ckpt` is taken.
        trust: packages, modules or classes that the checkpoint may name (`loss=custom`, `model=custom`) and import.
        key: that names it, for errors.

    Raises:
        ConfigError: if it is an ONNX file and ONNX Runtime is not installed.
        DataError: if it is missing, is no checkpoint, is one of another program or a newer version, or names a class
            without trust.
    """
    try:
        return _open(_find_file(Path(path)), trust)
    except UserError as error:
        if not str(error).startswith(f"{KEY_OF_COMMANDS}="):
            raise
        raise type(error)(key + str(error).removeprefix(KEY_OF_COMMANDS)) from None


def _open(path: Path, trust: Collection[str]) -> Checkpoint:
    if path.suffix.lower() == onnx_model.SUFFIX:
        return onnx_model.open_onnx(path, trust)
    if path.suffix.lower() == safetensors_file.SUFFIX:
        return safetensors_file.open_safetensors(path, trust)
    content = read_content(path)
    weights = content.get(WEIGHTS)
    network = {
        key.removeprefix(NETWORK_PREFIX): value
        for key, value in (weights.items() if isinstance(weights, dict) else ())
        if isinstance(key, str) and key.startswith(NETWORK_PREFIX) and isinstance(value, Tensor)
    }
    return Checkpoint.read(path, content[KEY], content.get(STEP), network, trust)


def _find_file(path: Path) -> Path:
    """The file, or the `best.ckpt` of a run's folder."""
    try:
        is_folder = path.is_dir()
        file = path / "checkpoints" / _BEST if is_folder else path
        if file.is_file():
            return file
        is_sweep = (path / "sweep.json").is_file()
        is_run = any((path / name).exists() for name in ("config.yaml", "checkpoints"))
        own = file.parent if file.parent.name == "checkpoints" and file.name == _BEST and file.parent.is_dir() else None
    except OSError as error:
        raise DataError(f"checkpoint={path}: this path cannot be opened ({error.strerror})") from None
    if is_sweep:
        raise DataError(f"checkpoint={path}: this is a sweep; name one run of it")
    if is_folder and not is_run:
        where = "runs are outputs/train/<run> and outputs/sweep/<sweep>/<run>"
        raise DataError(f"checkpoint={path}: this folder is neither a run nor a sweep; {where}")
    if own is not None:
        raise DataError(f"checkpoint={file}: {_explain_lacking(own)}")
    newest = "" if is_run else _name_newest(path)
    raise DataError(
        f"checkpoint={file}: there is no such file; runs keep theirs in <run>/checkpoints/best.ckpt{newest}"
    )


def _explain_lacking(checkpoints: Path) -> str:
    """What to do with a run whose folder of checkpoints has no best one."""
    # A command line would need the trust that the run's config wants, which `unet_exp.runs` knows: the words will do.
    go_on = f"go on with the training, {shlex.quote(f'resume={checkpoints.parent}')}"
    last = _find_last(checkpoints)
    if _is_over(checkpoints.parent):  # there is nothing to go on with
        take = "" if last is None else f"; type {last} for its last state"
        return f"there is no such file, though the training is over (was it moved or deleted?){take}"
    if last is not None:
        return (
            f"there is no such file (was the run stopped before its first validation?); type {last} for its last "
            f"state, or {go_on}"
        )
    return f"this run has no checkpoint yet (was it stopped before its first step was saved?); {go_on}"


def _is_over(run: Path) -> bool:
    """Whether a run's `summary.json` says that it finished, or that a search pruned it."""
    with suppress(OSError, ValueError):
        summary = json.loads((run / "summary.json").read_bytes())
        if isinstance(summary, dict):
            return summary.get("status") == "finished" or summary.get("pruned_at") is not None
    return False


def _find_last(checkpoints: Path) -> Path | None:
    """The last checkpoint of a run, if it has any."""
    return next((checkpoints / name for name in _LAST if (checkpoints / name).is_file()), None)


def _name_newest(path: Path) -> str:
    """Says which run is the newest beside a path, or where trainings write by default; empty where there is none.

    One whose name ends in that of the path comes first: a run has its time before its name. Of one without a best
    checkpoint the last is named too.
    """
    for pattern, told in ((f"*_{glob.escape(path.name)}", "did you mean {}?"), ("*", "the newest run is {}")):
        for folder in (path.parent, Path("outputs", "train")):
            found = [
                (file.stat().st_mtime, checkpoints)
                for checkpoints in folder.glob(f"{pattern}/checkpoints")
                if (file := _find_last(checkpoints) or checkpoints / _BEST).is_file()
            ]
            if found:
                newest = max(found)[1]
                alone = "" if (newest / _BEST).is_file() else f" (it has no {_BEST}: type {_find_last(newest)})"
                return f"; {told.format(newest.parent)}{alone}"
    return ""
