"""What a run records of very many images: their names beside the summary, their digests shortened."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY, Said, change_summary, summary

from unet_exp.checkpoints import record
from unet_exp.checkpoints.opening import open_checkpoint
from unet_exp.checkpoints.record import CheckpointRecord, pack_digests
from unet_exp.compare.collect import collect
from unet_exp.errors import DataError
from unet_exp.runs import run_folder
from unet_exp.runs.run_folder import RunFolder
from unet_exp.runs.summary import Summary

Cli = Callable[..., Said]
SPLIT = {"train": ["a", "b"], "val": ["c"], "test": ["d", "e"], "unlabelled": []}
COUNTS = {"train": 2, "val": 1, "test": 2, "unlabelled": 0}


@pytest.mark.parametrize(("most", "beside"), [(5, False), (4, True)])
def test_names_are_found_wherever_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, beside: bool
) -> None:
    monkeypatch.setattr(run_folder, "MOST_NAMES", most)
    folder = RunFolder(tmp_path)
    Summary(**folder.write_split(SPLIT)).write(folder.summary)
    assert folder.split.exists() == beside
    told = summary(folder)
    assert told["split"] == (None if beside else SPLIT)
    assert told.get("split_counts") == (COUNTS if beside else None)
    assert folder.read_split(folder.read_summary()) == SPLIT


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "split.json is missing or damaged"),
        ("[]", "split.json is missing or damaged"),
        ('{"train": [1]}', "split.json is missing or damaged"),
        ('{"train": ["a"', "split.json is missing or damaged"),
        (
            json.dumps({**SPLIT, "val": []}),
            "split.json is damaged: it has other numbers of names than summary.json says",
        ),
        (json.dumps({"train": ["a", "b"]}), "split.json is damaged: it has other numbers"),
    ],
)
def test_names_that_cannot_be_read_are_told(tmp_path: Path, content: str | None, said: str) -> None:
    folder = RunFolder(tmp_path)
    if content is not None:
        folder.split.write_text(content)
    with pytest.raises(DataError, match=said):
        folder.read_split(Summary(split=None, split_counts=COUNTS))


@pytest.mark.slow
def test_a_run_of_many_images_is_told_compared_scored_and_goes_on(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder, "MOST_NAMES", 3)
    monkeypatch.setattr(record, "MOST_DIGESTS", 1)
    folder = RunFolder(cli("train", *TINY, "output=out").folder)
    told = summary(folder)
    assert (told["split"], told["split_counts"]) == (None, {"train": 2, "val": 1, "test": 1, "unlabelled": 0})
    names = json.loads(folder.split.read_text())
    assert names["train"] == ["synthetic_000", "synthetic_001"]
    (run,), apart = collect([folder.path])
    assert (list(run.images.index), apart) == (names["test"], [])

    change_summary(folder, status="running")
    assert cli("train", f"resume={folder.path}").folder == folder.path
    assert folder.read_split(folder.read_summary()) == names
    assert summary(folder)["status"] == "finished"

    said = cli("evaluate", f"checkpoint={folder.best}", "output=scored", "split=train", "data.train_images=4")
    scored = RunFolder(said.folder)
    assert (summary(scored)["split"], summary(scored)["split_counts"]) == (None, {"train": 4})
    assert len(scored.read_split(scored.read_summary())["train"]) == 4
    assert summary(scored)["seen_in_training"] == 2

    folder.split.unlink()
    ((apart,), found) = reversed(collect([folder.path]))
    assert (found, apart.reason) == ([], "split.json is missing or damaged")


@pytest.mark.parametrize("most", [10, 1])
def test_images_that_were_trained_on_are_known(monkeypatch: pytest.MonkeyPatch, finished: RunFolder, most: int) -> None:
    monkeypatch.setattr(record, "MOST_DIGESTS", most)
    digests = np.random.default_rng(0).integers(0, 256, (5, 32), np.uint8)
    digests[4] = 0
    plain = open_checkpoint(finished.best).record.model_dump()
    kept = CheckpointRecord.read({**plain, "trained_on": pack_digests(digests[[4, 1, 3]])})
    assert isinstance(kept.trained_on, str) == (most == 1)
    assert CheckpointRecord.read(json.loads(kept.model_dump_json())) == kept
    assert kept.find_trained_on(digests).tolist() == [False, True, False, True, True]
    assert kept.find_trained_on(digests[:0]).tolist() == []
    nothing = CheckpointRecord.read({**plain, "trained_on": []})
    assert not nothing.find_trained_on(digests).any()


@pytest.mark.parametrize("digests", ["abc", "x" * 16, ["00"], [7], None, "A" * 16])
def test_what_is_no_digest_is_told(finished: RunFolder, digests: object) -> None:
    plain = open_checkpoint(finished.best).record.model_dump()
    with pytest.raises(ValueError, match="it is damaged: trained_on"):
        CheckpointRecord.read({**plain, "trained_on": digests})
