"""Sweeps of many runs: nothing is done again for each run that is the same for all."""

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import pytest
from conftest import TINY, Said
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from rich.console import Console

import unet_exp.training.run
from unet_exp import compose
from unet_exp.config import Config
from unet_exp.runs.run_folder import RunFolder
from unet_exp.runs.summary import Summary
from unet_exp.runs.sweep_folder import PlannedRun, SweepFolder
from unet_exp.sweeps.progress import SweepProgress

Cli = Callable[..., Said]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """The configs of runs that are finished at once."""
    configs: list[Config] = []

    def train(config: Config, words: list[str], folder: RunFolder, pruning: object = None) -> None:
        del pruning
        configs.append(config)
        folder.write_config(config.model_dump())
        Summary(status="finished", seed=config.seed, overrides=words).write(folder.summary)

    monkeypatch.setattr(unet_exp.training.run, "train", train)
    return configs


def test_hydra_composes_once_for_all_jobs(
    cli: Cli, tmp_path: Path, trained: list[Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    composed: list[object] = []
    load = ConfigLoaderImpl.load_configuration

    def count(*args: Any, **kwargs: Any) -> Any:
        composed.append(args)
        return load(*args, **kwargs)

    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", count)
    compose._compose_once.cache_clear()
    counts = []
    for runs in (2, 7):
        composed.clear()
        words = ["-m", *TINY, "optimizer.lr=0.5", f"seed=range({runs})", "sweep.report=false"]
        assert cli("train", *words, f"output={tmp_path / str(runs)}").code == 0
        counts.append(len(composed))
    assert counts[1] <= counts[0] <= 3
    assert [config.seed for config in trained] == [0, 1, *range(7)]
    assert {config.optimizer.lr for config in trained} == {0.5}
    assert not hydra.core.global_hydra.GlobalHydra.instance().is_initialized()


def test_jobs_use_the_configs_of_the_user_and_all_of_several_loggers(
    cli: Cli, tmp_path: Path, trained: list[Config]
) -> None:
    (tmp_path / "mine" / "optimizer").mkdir(parents=True)
    (tmp_path / "mine" / "optimizer" / "slow.yaml").write_text("defaults: [adam, _self_]\nlr: 0.25\n")
    words = [
        "-m",
        "--config-dir",
        str(tmp_path / "mine"),
        *TINY[:-3],
        "logger=[wandb,tensorboard]",
        "logger.mode=offline",
    ]
    said = cli("train", *words, "optimizer=slow,adam", "sweep.report=false", f"output={tmp_path / 'out'}")
    assert said.code == 0, said
    assert [config.optimizer.lr for config in trained] == [0.25, 0.001]
    assert trained[0].logger.model_dump()["name"] == ["wandb", "tensorboard"]


def test_a_look_reads_only_runs_that_have_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [PlannedRun(f"seed={seed}", []) for seed in range(40)]
    sweep = SweepFolder(tmp_path, [], planned=runs)
    looked: list[str] = []

    def status(_: SweepFolder, run: PlannedRun) -> None:
        looked.append(run.name)

    with SweepProgress(sweep, 40, Console(file=io.StringIO())) as progress:
        (tmp_path / "seed=3").mkdir()
        with monkeypatch.context() as patch:
            patch.setattr(SweepFolder, "status", status)
            assert progress._look() == (0, 0, "0 of 40 done, 0 failed, 0 running")
    assert set(looked) == {"seed=3"}


def test_runs_of_a_resumed_sweep_follow_the_one_that_began_first(
    cli: Cli, tmp_path: Path, trained: list[Config]
) -> None:
    words = ["-m", *TINY, "seed=0,1,2", "sweep.report=false", f"output={tmp_path / 'out'}"]
    assert cli("train", *words).code == 0
    (sweep,) = (tmp_path / "out" / "sweep").iterdir()
    assert not (sweep / ".earliest").exists()
    for seed, age in ((2, 60), (1, 30)):
        config = sweep / f"seed={seed}" / "config.yaml"
        os.utime(config, (config.stat().st_mtime - age,) * 2)
    early = sweep / "seed=2" / "config.yaml"
    early.write_text("".join(line for line in early.read_text().splitlines(True) if "foreground_share" not in line))
    os.utime(early, (1, 1))
    shutil.rmtree(sweep / "seed=0")
    assert cli("train", f"sweep.resume={sweep}").code == 0
    assert (sweep / ".earliest").read_text() == "seed=2"
    assert trained[-1].seed == 0


OFFLINE = [*TINY[:-3], "logger.mode=offline"]


@pytest.mark.parametrize(
    ("words", "projects"),
    [
        ([*OFFLINE, "seed=0,1"], ["first", "first"]),
        ([*OFFLINE, "logger.project=typed", "seed=0,1"], ["typed", "typed"]),
        ([*OFFLINE, "seed=0", "logger=wandb,[wandb,tensorboard]"], ["first", "other shell"]),
    ],
)
def test_a_resumed_sweep_stays_at_its_place_in_wandb(
    words: list[str],
    projects: list[str],
    cli: Cli,
    tmp_path: Path,
    trained: list[Config],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "first")
    assert cli("train", "-m", *words, "sweep.report=false", f"output={tmp_path / 'out'}").code == 0
    (sweep,) = (tmp_path / "out" / "sweep").iterdir()
    shutil.rmtree(sweep / trained[1].name)
    monkeypatch.setenv("WANDB_PROJECT", "other shell")
    assert cli("train", f"sweep.resume={sweep}").code == 0
    assert [trained[0].logger.model_dump()["project"], trained[-1].logger.model_dump()["project"]] == projects


def test_the_first_run_is_one_that_goes_on_where_it_began(tmp_path: Path) -> None:
    sweep = SweepFolder(tmp_path, [], planned=[PlannedRun(f"seed={seed}", []) for seed in range(3)])
    for age, run in enumerate(sweep.runs):
        folder = sweep.folder(run)
        folder.last.parent.mkdir(parents=True)
        folder.config.touch()
        os.utime(folder.config, (age, age))
    sweep.folder(sweep.runs[1]).last.touch()
    sweep.note_earliest()
    assert sweep.earliest.read_text() == "seed=1"


@pytest.mark.parametrize(
    ("words", "told"), [(["logger.mode=offline"], 1), (["logger.mode=disabled"], 0), (["logger=csv"], 0)]
)
def test_a_sweep_tells_variables_of_wandb_without_effect_once(
    words: list[str], told: int, cli: Cli, tmp_path: Path, trained: list[Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_NAME", "mine")
    said = cli("train", "-m", *TINY[:-3], *words, "seed=0,1", "sweep.report=false", f"output={tmp_path / 'out'}")
    assert said.out.count("warning: W&B: WANDB_NAME has no effect") == told
    assert len(trained) == 2


@pytest.mark.parametrize("name", ["../elsewhere", "", "gone", "a/b"])
def test_a_wrong_note_of_the_first_run_counts_as_none(tmp_path: Path, name: str) -> None:
    for folder in ("sweep", "elsewhere"):
        (tmp_path / folder).mkdir()
    (tmp_path / "elsewhere" / "config.yaml").touch()
    sweep = SweepFolder(tmp_path / "sweep", [])
    sweep.earliest.write_text(name)
    assert sweep.find_earliest() is None


@pytest.mark.slow
def test_a_line_does_not_name_thousands_of_runs(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("no luck")

    monkeypatch.setattr(unet_exp.training.run, "train", fail)
    said = cli("train", "-m", *TINY, "seed=range(23)", f"output={tmp_path / 'out'}")
    assert "23 of 23 runs failed: seed=0, " in said.mistake
    assert "seed=19 and 3 more; " in said.mistake
