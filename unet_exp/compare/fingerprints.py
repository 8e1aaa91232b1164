"""Makes fingerprints of two versions comparable: the data themselves say which of them are of the same data."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

from unet_exp import data
from unet_exp.compare.collect import Run
from unet_exp.config.user_data import CustomDataConfig
from unet_exp.errors import UserError
from unet_exp.progress import watch
from unet_exp.runs.earlier import read_config
from unet_exp.runs.run_folder import RunFolder
from unet_exp.samples.fingerprint import VERSION, find_version, fingerprint


def translate_fingerprints(runs: Sequence[Run]) -> list[Run]:
    """The runs, with fingerprints of an earlier version in that of today where both are among them.

    Only then the data are read, by the configs of the runs. A fingerprint whose data are not found stays as it is.

    Args:
        runs: of one data set in words; those of each fold are looked at apart.
    """
    known: dict[str, str] = {}
    for fold in dict.fromkeys(run.fold for run in runs):
        known |= _find_same([run for run in runs if run.fold == fold])
    return [_replace_fingerprint(run, known) for run in runs]


def explain_versions(run: Run, model: Run) -> str | None:
    """Why a run is not compared with another whose fingerprint is of another version; None for one version."""
    own, other = _find_version(run), _find_version(model)
    if own == other:
        return None
    both = f"the fingerprints of its data and of those of {model.folder.name} are of two versions ({own} and {other})"
    if max(own, other) > VERSION:
        return f"{both}, one of which this version of unet_exp does not know; update unet_exp"
    return (
        f"{both}, and the data themselves, which would tell whether they are the same, are gone or have changed; bring "
        "them back to where config.yaml says, or train the earlier run again"
    )


def _find_same(runs: Sequence[Run]) -> dict[str, str]:
    """Today's fingerprint for each earlier one whose data are found, where the runs have some of both."""
    examples = {str(run.summary.data_fingerprint): run for run in runs}
    earlier = {known: run for known, run in examples.items() if _find_version(run) < VERSION}
    later = [run for run in examples.values() if _find_version(run) == VERSION]
    same: dict[str, str] = {}
    if not earlier or not later:
        return same
    # The data of an earlier run may have moved, and a later run may know where they are.
    found = _compute_same([*earlier.values(), *later], {_find_version(run) for run in earlier.values()})
    while not same.keys() >= earlier.keys() and (of_one := next(found, None)):
        same |= of_one
    return same


def _compute_same(runs: Sequence[Run], versions: Collection[int]) -> Iterator[dict[str, str]]:
    """Earlier fingerprints and today's, of the data of each run that can be read; each place is read once."""
    tried = set()
    for run in runs:
        try:
            config = read_config(RunFolder(run.folder))
            place = config.data.model_dump_json(), config.trainer.limit_batches
            if place in tried:
                continue
            tried.add(place)
            if isinstance(config.data, CustomDataConfig):  # its code may be anybody's too
                continue
            # The config may be anybody's, and to compare is no reason to download.
            local: dict[str, Any] = {
                key: False for key in ("download", "verify") if key in type(config.data).model_fields
            }
            dataset = data.load_data(config.data.model_copy(update=local), keep=False)
            dataset = data.limit(dataset, config.trainer.limit_batches)
            with watch("hashing the images as earlier runs did"):
                today = fingerprint(dataset)
                of_one = {fingerprint(dataset, version): today for version in versions}
        except (UserError, OSError):  # the config or the data cannot be read
            continue
        yield of_one


def _find_version(run: Run) -> int:
    return find_version(run.summary.data_fingerprint)


def _replace_fingerprint(run: Run, known: dict[str, str]) -> Run:
    found = known.get(str(run.summary.data_fingerprint))
    return run if found is None else replace(run, summary=run.summary.replace(data_fingerprint=found))
