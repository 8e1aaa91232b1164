"""A prediction shared out over several processes: the same files as one process writes, whoever ends last."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from conftest import Said
from hypothesis import given
from hypothesis import strategies as st

from unet_exp.cli.predict_part import read_share
from unet_exp.data.sets.synthetic import generate
from unet_exp.errors import ConfigError, DataError
from unet_exp.inference.device import use_gpu
from unet_exp.inference.large import by_tiles
from unet_exp.inference.large.part_file import PartFile
from unet_exp.inference.large.parts_folder import PartsFolder
from unet_exp.inference.large.shared_tiles import SharedTiles
from unet_exp.inference.large.sharing import Share, assign_files, cut_evenly, format_numbers
from unet_exp.io.writing import write_image
from unet_exp.runs.run_folder import RunFolder

Cli = Callable[..., Said]
HERE = ("trainer.accelerator=cpu", "trainer.precision=32")
SMALL_MEMORY = ("memory=40MB", "inference.tile=128")
"""Less than the large image takes in memory: it is predicted in tiles of 128 pixels."""
SIZES = st.lists(st.integers(0, 50), max_size=40)


# --- which files, which tiles ---


@given(SIZES, st.integers(1, 50))
def test_each_file_has_one_part(sizes: list[int], count: int) -> None:
    owners = assign_files(sizes, count)
    assert len(owners) == len(sizes)
    assert set(owners) <= set(range(1, count + 1))
    assert len(set(owners)) == min(len(sizes), count)
    loads = [sum(max(size, 1) for size, owner in zip(sizes, owners, strict=True) if owner == part) for part in owners]
    assert max(loads, default=0) <= sum(max(size, 1) for size in sizes) / count + max([1, *sizes])


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 50))
def test_each_tile_has_one_part(sizes: list[int], count: int) -> None:
    runs = cut_evenly(sizes, count)
    assert len(runs) == count
    assert [place for run in runs for place in run] == list(range(len(sizes)))
    for run in runs:
        assert sum(sizes[place] for place in run) <= sum(sizes) / count + max(sizes)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=3), st.integers(1, 12), st.data())
def test_a_tile_lies_where_its_part_was_written(tall: list[int], count: int, data: Any) -> None:
    pages = [
        [(top, left, min(7, height - top), min(5, 11 - left)) for top in range(0, height, 7) for left in (0, 5, 10)]
        for height in tall
    ]
    tiles = SharedTiles(pages, count)
    page = data.draw(st.integers(0, len(pages) - 1))
    place = data.draw(st.integers(0, len(pages[page]) - 1))
    number, start = tiles.locate(page, place)
    before = 0
    for found_page, tile in tiles.of_part(number):
        if (found_page, tile) == (page, pages[page][place]):
            break
        before += tile[2] * tile[3]
    assert before == start
    assert sum(tiles.sizes) == 11 * sum(tall)


@given(st.sets(st.integers(1, 30), min_size=1))
def test_numbers_are_listed_in_runs(numbers: set[int]) -> None:
    found: list[int] = []
    for run in format_numbers(sorted(numbers)).split(", "):
        ends = [int(end) for end in run.split("-")]
        found += range(ends[0], ends[-1] + 1)
    assert found == sorted(numbers)


# --- the key ---

ARRAY = {"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_MIN": "3"}
STEP = {
    "SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "7", "SLURM_LOCALID": "1", "SLURM_STEP_TASKS_PER_NODE": "3(x2),1",
}  # fmt: skip
TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}


@pytest.mark.parametrize(
    ("environment", "share"),
    [
        (ARRAY, Share(3, 4)),
        ({**ARRAY, "SLURM_ARRAY_TASK_ID": "9", "SLURM_ARRAY_TASK_STEP": "2"}, Share(4, 4)),
        (STEP, Share(6, 7, 1, 3)),
        (TORCHRUN, Share(4, 4, 1, 2)),
        ({**STEP, **TORCHRUN}, Share(4, 4, 1, 2)),  # srun has started a torchrun on each machine
        ({**ARRAY, **TORCHRUN}, Share(12, 16, 1, 2)),
        ({**ARRAY, "SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, Share(3, 4)),  # a batch script without srun
    ],
)
def test_the_scheduler_numbers_the_parts(environment: dict[str, str], share: Share) -> None:
    assert read_share("auto", environment) == share


@pytest.mark.parametrize(
    ("environment", "part"),
    [
        ({}, "part=auto finds no number of this process: neither of a SLURM job array (SLURM_ARRAY_TASK_ID)"),
        ({**ARRAY, "SLURM_ARRAY_TASK_COUNT": "1"}, "this job array has one task, 5; to run one part again type"),
        (
            {**ARRAY, "SLURM_ARRAY_TASK_MAX": "9"},
            "the 4 numbers of this job array, 3 to 9, have gaps; take --array=1-4",
        ),
    ],
)
def test_a_scheduler_without_parts(environment: dict[str, str], part: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(part)):
        read_share("auto", environment)


def test_processes_of_one_machine_take_its_gpus_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    for count in (0, 1, 3):
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        for slot in range(4):
            use_gpu(slot)
    assert taken == [0, 1, 2, 0]


@pytest.fixture
def predict(cli: Cli, finished: RunFolder) -> Cli:
    """`predict("input=...")` calls it with the finished training."""
    return lambda *words: cli("predict", f"checkpoint={finished.best}", *HERE, *words)


@pytest.mark.parametrize(
    ("word", "part"),
    [
        ("0/8", "part='0/8': must be one of 1/8 to 8/8"),
        ("9/8", "part='9/8': must be one of 1/8 to 8/8"),
        ("x", "part='x': must be such as 2/8, the second of eight parts, or auto"),
        ("2", "part=2: must be such as 2/8"),
        ("1/0", "part='1/0': must be such as 2/8"),
        ("auto", "part=auto finds no number of this process"),
    ],
)
def test_mistakes(predict: Cli, tmp_path: Path, word: str, part: str) -> None:
    write_image(tmp_path / "a.png", generate(32, 32, 4, 0).image)
    assert part in predict("input=a.png", "output=masks", f"part={word}").mistake
    assert not (tmp_path / "masks").exists()


# --- the files of a folder ---


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_the_parts_of_a_folder_are_what_one_process_writes(predict: Cli, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number, side in enumerate((32, 64, 48, 32, 40)):
        write_image(tmp_path / "in" / f"{number}.png", generate(side, side, 4, number).image)
    (tmp_path / "in" / "bad.png").write_bytes(b"no image")
    words = "input=in", "probabilities=true", "instances=true"
    assert "1 of 6 files was left out: in/bad.png" in predict(*words, "output=alone").mistake
    said = [predict(*words, "output=shared", f"part={number}/3") for number in (2, 3, 1)]
    assert _contents(tmp_path / "shared") == _contents(tmp_path / "alone")
    assert "instances.csv" in _contents(tmp_path / "alone")
    assert [one.code for one in said].count(2) == 1
    assert sum(int(re.findall(r"part \d of 3: (\d) of 6 files predicted", one.out)[0]) for one in said) == 5
    (failed,) = [one for one in said if one.code]
    assert re.match(r"1 of \d files was left out: in/bad.png", failed.mistake)


def test_more_parts_than_small_files(predict: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "a.png", generate(32, 32, 4, 0).image)
    with monkeypatch.context() as patch:
        for name, value in {"RANK": "1", "WORLD_SIZE": "3", "LOCAL_WORLD_SIZE": "2"}.items():
            patch.setenv(name, value)
        idle = predict("input=a.png", "output=masks", "part=auto")
    assert "part 2 of 3: nothing to do, other parts predict the only file; TIFFs that take more" in idle.out
    assert (idle.code, (tmp_path / "masks").exists()) == (0, False)
    assert "part 1 of 3: 1 of 1 files predicted" in predict("input=a.png", "output=masks", "part=1/3").out


# --- the tiles of a large image ---


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A TIFF of two pages, of which a corner holds no data."""
    pixels = generate(512, 512, 4, 0).image.copy()
    pixels[:100, :100] = 0
    place = [(42113, "s", 2, "0", True)]
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in (pixels, np.ascontiguousarray(pixels[:200, ::-1])):
            file.write(page, rowsperstrip=16, compression="lzw", extratags=place, metadata=None)
    return tmp_path / "a.tif"


@pytest.fixture
def share(predict: Cli) -> Cli:
    """`share("2/3")` predicts a part of `a.tif` into `masks`."""
    return lambda part, *words: predict("input=a.tif", "output=masks", *SMALL_MEMORY, f"part={part}", *words)


def _stop_after(patch: pytest.MonkeyPatch, calls: int) -> None:
    """A process is killed when it has written so many tiles."""
    append, seen = PartFile.append, [0]

    def counted(self: PartFile, rows: Any) -> None:
        append(self, rows)
        seen[0] += 1
        if seen[0] == calls:
            raise KeyboardInterrupt

    patch.setattr(PartFile, "append", counted)


@pytest.mark.usefixtures("image")
def test_the_parts_of_a_large_image_are_what_one_process_writes(
    predict: Cli, share: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert predict("input=a.tif", "output=alone", *SMALL_MEMORY).code == 0
    with monkeypatch.context() as patch:
        _stop_after(patch, 3)
        assert share("3/3").code == 130
    parts = tmp_path / "masks" / "a_mask.parts"
    assert sorted(path.name for path in parts.iterdir()) == ["3.part", "lock", "plan.json"]
    said = share("1/3")
    assert "512 x 512 pixels and 1 more pages, in tiles of 128; part 1 of 3: 7 of 24 tiles" in said.out
    assert "not done yet: 2-3. If one of them does not run, start it with part=2/3 and else the same" in said.out
    assert said.code == 0
    assert [path.name for path in (tmp_path / "masks").iterdir()] == ["a_mask.parts"]
    with (parts / "3.part").open("ab") as file:
        file.write(b"half a tile")
    drawn: list[int] = []
    compute = by_tiles._predict_parts
    monkeypatch.setattr(by_tiles, "_predict_parts", lambda *given: drawn.append(len(given[3])) or compute(*given))
    said = share("3/3")
    assert "part 3 of 3: 9 of 24 tiles" in said.out
    assert "a_mask.parts: part 3 of 3 goes on there" in said.out
    assert sum(drawn) == 9 - 3
    # Killed while it writes the mask, and run again: nothing is predicted twice.
    with monkeypatch.context() as patch:
        patch.setattr(by_tiles, "write_preview", _interrupt)
        assert share("2/3").code == 130
    drawn.clear()
    said = share("1/3")
    assert "a.tif: part 1 of 3 was done before" in said.out
    assert "a.tif: all 3 parts are done" in said.out
    assert "part 1 of 3: 1 of 1 files predicted, 1 in place of an earlier mask; the masks are in" in said.out
    assert drawn == []
    assert _contents(tmp_path / "masks") == _contents(tmp_path / "alone")
    assert sorted(_contents(tmp_path / "masks")) == ["a_mask.tif", "a_preview.tif"]


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_parts_of_something_else_are_refused(
    cli: Cli, share: Cli, image: Path, finished: RunFolder, tmp_path: Path
) -> None:
    assert share("1/3").code == 0
    before = _contents(tmp_path / "masks")
    other = tmp_path / "other.ckpt"
    content = torch.load(finished.best, weights_only=True)
    content["global_step"] += 1
    torch.save(content, other)
    for words, part in [
        (["2/4"], "masks/a_mask.parts was begun in 3 parts, and this is one of 4: type part=.../3, or delete"),
        (["2/3", "inference=flips8"], "a_mask.parts was begun with another precision or inference"),
        (["2/3", "inference.tile=64"], "a_mask.parts was begun with another inference.tile"),
        (["2/3", "memory=36MB"], "has begun it in tiles of 128 pixels, and memory=36MB holds only those of"),
    ]:
        assert part in share(*words).mistake
    said = cli("predict", f"checkpoint={other}", *HERE, *SMALL_MEMORY, "input=a.tif", "output=masks", "part=2/3")
    assert "a_mask.parts was begun with another checkpoint: take that, or delete" in said.mistake
    os.utime(image, (1, 1))
    assert "a_mask.parts was begun with another image" in share("2/3").mistake
    (tmp_path / "masks/a_mask.parts/plan.json").write_text("{")
    assert "plan.json cannot be read; delete masks/a_mask.parts, and run all" in share("2/3").mistake
    after = _contents(tmp_path / "masks")
    assert {name for name in before if before[name] != after[name]} == {"a_mask.parts/plan.json"}


@pytest.mark.slow
def test_more_parts_than_tiles(share: Cli, image: Path, tmp_path: Path) -> None:
    tifffile.imwrite(image, generate(512, 512, 4, 0).image, rowsperstrip=16, metadata=None)
    words = "memory=52MB", "inference.tile=512"

    def idles() -> bool:
        said = share("2/7", *words)
        assert said.code == 0
        return "part 2 of 7: 0 of 4 tiles" in said.out

    assert idles()
    assert not (tmp_path / "masks").exists()
    for part in "1357":
        assert f"part {part} of 7: 1 of 4 tiles" in share(f"{part}/7", *words).out
    assert idles()
    assert sorted(_contents(tmp_path / "masks")) == ["a_mask.tif", "a_preview.png"]


@pytest.mark.slow
def test_who_has_begun_a_part_by_tiles_decides(share: Cli, image: Path, tmp_path: Path) -> None:
    """A machine with more memory would predict the image as a whole."""
    tifffile.imwrite(image, generate(512, 512, 4, 0).image, rowsperstrip=16, metadata=None)
    assert "part 2 of 2: 8 of 16 tiles" in share("2/2").out
    assert "a.tif: all 2 parts are done" in share("1/2", "memory=2GB").out
    assert sorted(_contents(tmp_path / "masks")) == ["a_mask.tif", "a_preview.png"]


@pytest.mark.usefixtures("image")
def test_another_process_ends_first(share: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert share("2/2").code == 0
    is_done = PartsFolder.is_done
    parts = tmp_path / "masks" / "a_mask.parts"

    def ended(self: PartsFolder, number: int, size: int) -> bool:
        if number == 1 and parts.exists():
            shutil.rmtree(parts)
        return is_done(self, number, size)

    monkeypatch.setattr(PartsFolder, "is_done", ended)
    said = share("2/2")
    assert "a.tif: all 2 parts are done, and another process writes the mask" in said.out
    assert (said.code, list((tmp_path / "masks").iterdir())) == (0, [])


@pytest.mark.usefixtures("image")
def test_two_at_one_part(share: Cli, tmp_path: Path) -> None:
    assert share("1/2").code == 0
    with (tmp_path / "masks" / "a_mask.parts" / "2.part").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "a_mask.parts/2.part: another process is predicting this part of the image" in share("2/2").mistake


@pytest.mark.slow
@pytest.mark.usefixtures("image")
def test_processes_of_torchrun_share_an_image(predict: Cli, finished: RunFolder, tmp_path: Path) -> None:
    words = "input=a.tif", *SMALL_MEMORY, *HERE
    assert predict(*words, "output=alone").code == 0
    program = Path(__file__).parents[2] / "scripts" / "predict.py"
    start = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", program)
    done = subprocess.run(
        [*start, f"checkpoint={finished.best}", *words, "output=masks", "part=auto"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    assert "part 1 of 2: 11 of 24 tiles" in done.stdout
    assert "a.tif: all 2 parts are done" in done.stdout
    assert _contents(tmp_path / "masks") == _contents(tmp_path / "alone")


def test_a_damaged_part_is_not_done(tmp_path: Path) -> None:
    folder = PartsFolder(tmp_path / "x.parts", {"image": 1}, 2)
    for number in (1, 2):
        folder.path.mkdir(exist_ok=True)
        with folder.open_part(number) as part:
            part.append(np.full((2, 3), number, np.uint8))
    assert [folder.is_done(number, 6) for number in (1, 2)] == [True, True]
    assert folder.open_done(2).read() == bytes([2] * 6)
    content = (folder.path / "1.done").read_bytes()
    for damaged in (content[:-1], content + b"0", content.replace(b"1", b"3", 1), b""):
        (folder.path / "1.done").write_bytes(damaged)
        assert not folder.is_done(1, 6)


def test_one_process_begins_and_one_ends(tmp_path: Path) -> None:
    one, other = (PartsFolder(tmp_path / "x.parts", {"image": 1}, 2) for _ in range(2))
    assert one.read_tiles() is None
    assert one.begin([64, 32]) == [64, 32]
    assert other.begin([128, 128]) == other.read_tiles() == [64, 32]
    with one.claim() as first, other.claim() as second:
        assert (first, second) == (True, False)
    assert list(tmp_path.iterdir()) == []
    with other.claim() as late:
        assert not late
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match="cannot be made"):
        PartsFolder(tmp_path / "none" / "x.parts", {}, 2).begin([64])
