"""Ensembles: which checkpoints are meant, and in what they must agree so that their mean has a meaning."""

import glob
import os
import reprlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from unet_exp.checkpoints.checkpoint import Checkpoint
from unet_exp.checkpoints.opening import open_checkpoint
from unet_exp.config import InferenceConfig
from unet_exp.errors import ConfigError, DataError
from unet_exp.runs.run_folder import RunFolder
from unet_exp.runs.sweep_folder import SweepFolder

Named = str | Path | Sequence[str | Path]
"""A file, a run's folder, a sweep's folder or a glob, or several of these."""

_KINDS = (".ckpt", ".onnx", ".safetensors")
"""Files that a glob takes for checkpoints, beside folders of runs."""


@dataclass(frozen=True)
class Opened:
    """Opened checkpoints.

    Attributes:
        checkpoints: each once, at least one.
        left_out: folders of a sweep or a glob that hold no finished training with its `best.ckpt`, with the reason.
    """

    checkpoints: list[Checkpoint]
    left_out: list[str]


def open_checkpoints(named: Named, trust: Collection[str] = ()) -> Opened:
    """Opens the checkpoints that are meant, in the order in which they are named, or of the plan of a sweep.

    Args:
        named: a file or a run's folder as `open_checkpoint` takes it; a sweep's folder: the `best.ckpt` of each of its
            finished runs; a glob: files of checkpoints, and folders of finished runs and of sweeps; or several of
            these.
        trust: see `unet_exp.checkpoints.opening.open_checkpoint`.

    Raises:
        DataError: as `open_checkpoint`; and if a sweep or a glob gives none, or what is given is no name.
        ConfigError: as `open_checkpoint`.
    """
    left_out: list[str] = []
    paths = [path for one in _list_names(named) for path in _find(one, left_out)]
    if not paths:
        raise DataError("checkpoint=[]: name a file or a folder of a run")
    opened = (open_checkpoint(path, trust) for path in dict.fromkeys(paths))
    each = {checkpoint.path.resolve(): checkpoint for checkpoint in opened}
    return Opened(list(each.values()), left_out)


def _list_names(named: object) -> list[str | Path]:
    """The names that are given; a user of Python or of YAML's `null` may give anything."""
    listed = named if isinstance(named, Iterable) and not isinstance(named, str | bytes | Mapping) else [named]
    names: list[str | Path] = []
    for one in listed:
        if not isinstance(one, str | Path):
            what = " ".join(reprlib.repr(one).split())
            raise DataError(f"checkpoint={what}: name files, folders or a list of them")
        names.append(one)
    return names


def _find(named: str | Path, left_out: list[str]) -> list[Path]:
    """The files or folders of runs behind one name; adds to `left_out`."""
    path = Path(named)
    if os.path.isdir(path) and _is_sweep(path):
        found = list(_list_usable(path, left_out))
        if not found:
            raise DataError(f"checkpoint={path}: no run of this sweep has finished and has its best.ckpt")
        return found
    if os.path.exists(path) or not (glob.has_magic(str(named)) or "," in str(named)):
        return [path]
    found = []
    for match in sorted(map(Path, glob.glob(str(named), recursive=True))):
        if match.is_file() and match.suffix.lower() in _KINDS:
            found.append(match)
        elif _is_sweep(match):
            found += _list_usable(match, left_out)
        elif RunFolder(match).config.is_file() and _is_usable(RunFolder(match), left_out):
            found.append(match)
    if not found:
        raise _explain_missing(str(named))
    return found


def _explain_missing(named: str) -> DataError:
    """The error of a name with commas or a glob's signs that gives no checkpoint; of a list, with what to do."""
    quoted = "\"checkpoint=['a','b']\""
    if named.startswith("[") and named.endswith("]"):  # a list that the grammar of the command line does not read
        return DataError(f"checkpoint={named}: names with commas, equals signs or brackets are quoted: {quoted}")
    lack = "there is no such file" + (", and as a pattern it matches no checkpoint" * glob.has_magic(named))
    mend = f"; several are a list: {quoted if '=' in named else f'checkpoint=[{named}]'}" if "," in named else ""
    return DataError(f"checkpoint={named}: {lack}{mend}")


def _is_sweep(folder: Path) -> bool:
    return (folder / "sweep.json").is_file()


def _list_usable(sweep: Path, left_out: list[str]) -> Iterator[Path]:
    """The folders of the usable runs of a sweep."""
    plan = SweepFolder.open(sweep)
    for run in plan.runs:
        if _is_usable(plan.folder(run), left_out):
            yield plan.folder(run).path


def _is_usable(run: RunFolder, left_out: list[str]) -> bool:
    """Whether a training has finished here and its best checkpoint is there; adds to `left_out`."""
    summary = run.read_summary()
    if summary.checkpoint is not None:
        why = "an evaluation"
    elif summary.pruned_at is not None:
        why = "pruned by the search"
    elif summary.status != "finished":
        why = summary.status or "not started"
    elif not run.best.is_file():
        why = f"{run.best.relative_to(run.path)} is not there"
    else:
        return True
    left_out.append(f"{run.path} is left out: {why}")
    return False


def check_alike(checkpoints: Sequence[Checkpoint]) -> None:
    """Checks that checkpoints tell the same classes apart in images of as many channels.

    Their architectures, losses and normalisations may differ: each network sees the image by its own normalisation, and
    all give probabilities.

    Raises:
        DataError: if not; names the files and the difference.
    """
    for one, other in pairwise(checkpoints):
        own, theirs = one.record, other.record
        names = [[spec.name for spec in record.classes] for record in (own, theirs)]
        both = f"checkpoint={other.path} and {one.path} cannot be put together"
        if names[0] != names[1]:
            raise DataError(f"{both}: their classes are [{', '.join(names[1])}] and [{', '.join(names[0])}]")
        for ours, spec in zip(own.classes, theirs.classes, strict=True):
            if spec.value != ours.value:
                raise DataError(f"{both}: {spec.name} is {spec.value} and {ours.value} in masks")
        if own.channels != theirs.channels:
            raise DataError(f"{both}: their images have {theirs.channels} and {own.channels} channels")


def agree_on_inference(checkpoints: Sequence[Checkpoint], given: Collection[str] = ()) -> InferenceConfig:
    """The settings of inference of checkpoints: those of the first, whose tile and batch size count for all.

    Args:
        checkpoints: at least one.
        given: keys whose values the user gives, such as `inference.context`: in these they may differ.

    Raises:
        ConfigError: if they differ in what changes the result; names the files and the difference.
    """
    for one, other in pairwise(checkpoints):
        own, theirs = (each.config.inference.model_dump(exclude={"tile", "batch_size"}) for each in (one, other))
        for key in ("name", *own):
            if f"inference.{key}" in given or own[key] == theirs.get(key, own[key]):
                continue
            word = "inference" if key == "name" else f"inference.{key}"
            mend = "choose with inference=none, flips8 or rotations7" if key == "name" else f"choose with {word}=..."
            raise ConfigError(
                f"checkpoint={other.path} was trained with {word}={theirs[key]} and {one.path} with {word}={own[key]}: "
                f"{mend}"
            )
    return checkpoints[0].config.inference
