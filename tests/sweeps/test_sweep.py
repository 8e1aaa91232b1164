"""A sweep: planned, checked, run in this process and in others, stopped, and gone on with."""

import json
import mmap
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import TINY, Said, change_summary, summary, table
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from unet_exp.cli.command import read_command
from unet_exp.config import Config
from unet_exp.errors import ConfigError, DataError
from unet_exp.files import hold_lock
from unet_exp.runs.run_folder import RunFolder
from unet_exp.runs.summary import Summary
from unet_exp.runs.sweep_folder import NAME_LIMIT, PlannedRun, SweepFolder, run_names
from unet_exp.sweeps.pairs import warn_of_few_pairs
from unet_exp.sweeps.plan import SweepPlan
from unet_exp.sweeps.progress import SweepProgress
from unet_exp.sweeps.wandb_places import describe_wandb

Cli = Callable[..., Said]
SCRIPT = Path(__file__).parents[2] / "scripts" / "train.py"


def planned(*words: str) -> SweepPlan:
    command = read_command(words, multirun=True)
    assert isinstance(command, SweepPlan)
    return command


def the_sweep(out: Path) -> SweepFolder:
    (path,) = (out / "sweep").iterdir()
    return SweepFolder.open(path)


def scores(sweep: SweepFolder) -> dict[str, Any]:
    return {run.name: (table(sweep.folder(run).per_image), summary(sweep.folder(run))["metrics"]) for run in sweep.runs}


class TestPlan:
    def test_a_run_for_each_combination_in_order(self) -> None:
        plan = planned("model=same,pad", "experiment=small", "seed=0,1", "optimizer.lr=0.01")
        assert [run.name for run in plan.runs] == [
            "model=same,seed=0", "model=same,seed=1", "model=pad,seed=0", "model=pad,seed=1",
        ]  # fmt: skip
        assert plan.runs[1].overrides == ["model=same", "experiment=small", "seed=1", "optimizer.lr=0.01"]
        assert [config.model.name for config in plan.configs] == ["same", "same", "pad", "pad"]

    def test_its_name_is_that_of_its_runs_or_what_varies(self) -> None:
        assert planned("seed=0,1", "name=mine").name == "mine"
        assert planned("optimizer.lr=0.1,0.2").name == "synthetic_valid_concat"
        assert planned("model=same,pad", "fusion=add,none").name == "model-fusion"
        assert planned("search=optuna", "fusion=add,none", "search.trials=2", "name=mine").name == "mine"

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            (["fusion=concat,add,none", "seed=0,1"], "2 pairs of runs with the same seed and fold are too few for any"),
            (["fusion=concat,add,none", "seed=0,1"], "it takes at least 7, such as with seed=range(7): 21 runs"),
            (["fusion=concat,add", "data.folds=3", "data.fold=range(3)"], "with seed=range(2): 12 runs"),
            (
                ["fusion=concat,add"],
                "one pair of runs is too few for any verdict: with 1 difference tested at",
            ),
            (["fusion=concat,add", "seed=range(6)"], None),
            (["fusion=concat,add", "data.folds=3", "data.fold=range(3)", "seed=0,1"], None),
            (["seed=0,1"], None),
        ],
    )
    def test_too_few_pairs_for_any_verdict_are_told(self, words: list[str], told: str | None) -> None:
        warning = warn_of_few_pairs(planned(*words).configs)
        assert (warning is None) if told is None else (warning is not None and told in warning)

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("experiment", "word", "values"),
        [
            ("skip_fusion", "fusion", ["concat", "add", "none", "attention"]),
            ("blocks", "model.block", ["plain", "residual"]),
            ("encoders", "model.encoder", ["resnet10t", "cs3darknet_s", "convnext_atto"]),
        ],
    )
    def test_an_experiment_that_is_a_sweep_by_itself(self, experiment: str, word: str, values: list[str]) -> None:
        plan = read_command([f"experiment={experiment}"])
        assert isinstance(plan, SweepPlan)
        assert len(plan.runs) == 8 * len(values)
        assert [f"{word}={value}" in run.name for run, value in zip(plan.runs, values, strict=False)] == [True] * len(
            values
        )
        assert len({(config.seed, config.data.fold) for config in plan.configs}) == 8
        assert plan.name == experiment

    def test_what_is_typed_takes_the_place_of_what_an_experiment_sweeps_over(self) -> None:
        plan = read_command(["experiment=skip_fusion", "fusion=concat,add", "seed=7"])
        assert isinstance(plan, SweepPlan)
        assert len(plan.runs) == 8
        assert {config.seed for config in plan.configs} == {7}
        assert plan.runs[0].name == "data.fold=0,fusion=concat"

    def test_one_training_is_no_sweep(self) -> None:
        assert isinstance(read_command(["model=same"]), Config)

    @pytest.mark.parametrize(
        ("words", "part"),
        [
            (["seed=0,1", "hydra/sweeper=basic"], "hydra/sweeper=basic: this is not typed"),
            (["seed=0,1", "hydra.sweep.dir=x"], "hydra.sweep.dir=x: this is not typed"),
            (["seed=0,1", "+sweep.run=x"], "+sweep.run=x: this is not typed"),
            (["output=a,b"], "output=a,b: a sweep has one of it"),
            (["search=optuna", "search.trials=1,2"], "search.trials=1,2: a sweep has one of it"),
            (["seed=range(5,0)"], "seed=range(5,0): there is no value in it"),
            (["fusion=glob(*)"], "fusion=glob(*): globs are not used here"),
            (["seed=0,1", "trainer.devices=2"], "trainer.devices=2: a run of a sweep has one device"),
            (["hydra/launcher=jobli"], "hydra/launcher=jobli: no such option; choose one of"),
            (["optimizer.lr=interval(0.1,0.2)"], "an interval is for search=optuna"),
            (["seed=0,-1"], "seed=-1: should be greater than or equal to 0"),
            (["model=same", "sweep.report=maybe"], "report='maybe': should be true or false"),
            (["sweep.resume=nowhere"], "sweep.resume=nowhere: there is no such folder"),
            (["model=same", "sweep.resume=nowhere"], "model=same: sweep.resume goes on with the words of the sweep"),
        ],
    )
    def test_mistakes(self, words: list[str], part: str) -> None:
        with pytest.raises((ConfigError, DataError), match=re.escape(part)):
            read_command(words, multirun=True)

    @pytest.mark.slow
    def test_gone_on_with_elsewhere_and_by_another_launcher(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "mine" / "experiment").mkdir(parents=True)
        (tmp_path / "mine" / "experiment" / "theirs.yaml").write_text("# @package _global_\nname: theirs\n")
        monkeypatch.chdir(tmp_path)
        side_by_side = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
        words = ["experiment=theirs", "seed=0,1", "sweep.report=false", *side_by_side]
        first = read_command(words, "mine", multirun=True)
        assert isinstance(first, SweepPlan)
        assert first.name == "theirs"
        folder = SweepFolder.create(tmp_path, first.name, first.words, first.config_dir, None, first.runs)
        monkeypatch.chdir("/")
        plan = read_command([f"sweep.resume={folder.path}", "hydra/launcher=basic"], first.config_dir)
        assert isinstance(plan, SweepPlan)
        assert [run.name for run in plan.runs] == ["seed=0", "seed=1"]
        assert plan.hydra == ["hydra/launcher=basic"]
        assert not plan.sweep.report
        assert plan.folder is not None

    def test_a_damaged_plan(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="there is no such folder; sweeps are in outputs/sweep"):
            SweepFolder.open(tmp_path / "nothing")
        for content in ("{", "[]", '{"runs": [{}]}', '{"words": 1, "runs": 2}'):
            (tmp_path / "sweep.json").write_text(content)
            with pytest.raises(DataError, match=r"sweep\.json: it is damaged"):
                read_command([f"sweep.resume={tmp_path}"])


class TestNames:
    values = st.text(max_size=200)
    keys = st.sampled_from(["fusion", "optimizer.lr", "experiment", "data.root"])

    @given(st.lists(st.dictionaries(keys, values, max_size=4), max_size=12))
    def test_are_legal_short_and_each_there_once(self, runs: list[dict[str, str]]) -> None:
        names = run_names(runs)
        assert len(set(names)) == len(runs)
        for name in names:
            assert re.fullmatch(r"[\w=+][\w.,=+-]*", name, re.ASCII)
            assert len(name) <= NAME_LIMIT + 4

    def test_say_what_varies(self) -> None:
        assert run_names([{"fusion": "add", "optimizer.lr": "0.01"}]) == ["fusion=add,optimizer.lr=0.01"]
        assert run_names([{}]) == ["run"]
        assert run_names([{"data.root": "/a b/ü"}]) == ["data.root=-a-b"]

    def test_are_shortened_from_the_front_of_their_keys(self) -> None:
        (name,) = run_names([{f"{'group' * 5}.{key}": "1" * 20 for key in "ab"}])
        assert name == f"a={'1' * 20},b={'1' * 20}"
        first, second = run_names([{"name": "x" * 100 + end} for end in "ab"])
        assert first != second
        assert first[:70] == second[:70]


class TestRun:
    def test_each_combination_in_a_folder_of_its_own(self, cli: Cli, tmp_path: Path) -> None:
        words = ["fusion=concat,add", "seed=0,1", "name=both", "scheduler.warmup_steps=50"]
        said = cli("train", "-m", *TINY, "output=out", *words)
        assert said.code == 0, said
        sweep = the_sweep(tmp_path / "out")
        assert sweep.path.name.endswith("_both")
        assert said.folder == sweep.path.relative_to(tmp_path)
        assert {path.name for path in sweep.path.iterdir()} == {
            *("fusion=concat,seed=0", "fusion=concat,seed=1", "fusion=add,seed=0", "fusion=add,seed=1"),
            *("sweep.json", "report.html", "report.md", "table.csv", "runs.csv", ".lock"),
        }
        for run in sweep.runs:
            told = summary(sweep.folder(run))
            assert told["status"] == "finished"
            assert told["name"] == run.name
            assert told["overrides"] == run.overrides
            values = yaml.safe_load(sweep.folder(run).config.read_text())
            assert f"fusion={values['fusion']['name']},seed={values['seed']}" == run.name
        # What a run prints is in its log; the sweep's own words are few.
        assert "network  " not in said.out
        assert "network  " in sweep.folder(sweep.runs[0]).log.read_text()
        assert "warning: 2 pairs of runs with the same seed and fold are too few for any verdict" in said.out
        assert "2 pairs" in said.out
        # What the checks warn of is told once at the start, and before one relies on the comparison.
        unreached = "in all 4 runs: the training ends after 2 steps, within scheduler.warmup_steps=50"
        assert said.out.startswith(f"warning: {unreached}")
        assert unreached in (sweep.path / "report.html").read_text()
        assert {path.name for path in tmp_path.iterdir()} == {"out"}

    @pytest.mark.slow
    def test_a_run_in_a_sweep_is_the_run_alone(self, cli: Cli, tmp_path: Path) -> None:
        words = [*TINY, "model=same", "loss.class_weights=inverse"]
        assert cli("train", "-m", *words, "output=out", "seed=3,4").code == 0
        alone = RunFolder(cli("train", *words, "output=alone", "seed=4").folder)
        run = RunFolder(the_sweep(tmp_path / "out").path / "seed=4")
        assert table(run.per_image) == table(alone.per_image)
        assert summary(run)["metrics"] == summary(alone)["metrics"]

    def test_goes_on_after_a_failure_and_resumes_only_that(self, cli: Cli, tmp_path: Path) -> None:
        words = [*TINY, "output=out", "optimizer=sgd", "optimizer.lr=1e30,1e-3", "trainer.max_steps=4"]
        said = cli("train", "-m", *words)
        assert said.code == 2
        sweep = the_sweep(tmp_path / "out")
        bad, good = (sweep.folder(run) for run in sweep.runs)
        assert (summary(bad)["status"], summary(good)["status"]) == ("failed", "finished")
        assert summary(bad)["error"].startswith("the training loss is")
        assert f"1 of 2 runs failed: {bad.path.name}" in said.mistake
        assert f"failed: {bad.path.name}: the training loss is" in said.out

        before = good.summary.stat().st_mtime_ns, bad.summary.stat().st_mtime_ns
        said = cli("train", f"sweep.resume={sweep.path}")
        assert said.code == 2
        assert good.summary.stat().st_mtime_ns == before[0]
        assert bad.summary.stat().st_mtime_ns != before[1]

    @pytest.mark.slow
    def test_resumed_it_comes_to_what_it_would_have_come_to(self, cli: Cli, tmp_path: Path) -> None:
        words = [*TINY, "fusion=concat,add", "seed=0,1"]
        assert cli("train", "-m", *words, "output=whole").code == 0
        assert cli("train", "-m", *words, "output=broken").code == 0
        whole, broken = the_sweep(tmp_path / "whole"), the_sweep(tmp_path / "broken")
        missing, half_done, kept = (broken.folder(run) for run in broken.runs[:3])
        shutil.rmtree(missing.path)
        change_summary(half_done, status="running")
        half_done.per_image.unlink()
        time_of_kept = kept.summary.stat().st_mtime_ns
        said = cli("train", f"sweep.resume={broken.path}")
        assert said.code == 0, said
        assert kept.summary.stat().st_mtime_ns == time_of_kept
        assert scores(broken) == scores(whole)
        same = [
            [{key: value for key, value in row.items() if key not in ("minutes", "peak_memory")} for row in rows]
            for rows in (table(sweep.path / "table.csv") for sweep in (whole, broken))
        ]
        assert same[0] == same[1]

    def test_a_bug_in_one_run_is_recorded_with_its_traceback(
        self, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from unet_exp.training import run as module

        original = module.train

        def broken(config: Config, *rest: Any) -> RunFolder:
            if config.seed == 0:
                raise ValueError("a bug")
            return original(config, *rest)

        monkeypatch.setattr(module, "train", broken)
        said = cli("train", "-m", *TINY, "output=out", "seed=0,1", "sweep.report=false")
        assert said.code == 2
        sweep = the_sweep(tmp_path / "out")
        first, second = (sweep.folder(run) for run in sweep.runs)
        assert summary(first)["error"] == "ValueError: a bug"
        assert "Traceback" in first.log.read_text()
        assert summary(second)["status"] == "finished"
        assert not (sweep.path / "report.html").exists()

    def test_ctrl_c_ends_the_sweep_and_says_how_to_go_on(
        self, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from unet_exp.training import run as module

        def interrupted(_config: Config, _words: object, folder: RunFolder, *_: Any) -> RunFolder:
            (folder.path / "wandb" / "offline-run-1").mkdir(parents=True)
            raise KeyboardInterrupt

        monkeypatch.setattr(module, "train", interrupted)
        words = [word for word in TINY if word != "logger=csv"]
        said = cli("train", "-m", *words, "output=out", "seed=0,1")
        assert said.code == 130
        sweep = the_sweep(tmp_path / "out")
        assert f"go on with: python scripts/train.py sweep.resume={sweep.path.relative_to(tmp_path)}" in said.err
        assert "send them after wandb login: wandb sync" in said.out
        assert not sweep.folder(sweep.runs[1]).path.exists()

    def test_ctrl_c_before_the_first_run(self, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from unet_exp.training import prepare as module

        monkeypatch.setattr(module, "prepare", lambda *_: signal.raise_signal(signal.SIGINT))
        said = cli("train", "-m", *TINY, "output=out", "seed=0,1")
        assert said.code == 130
        assert "stopped by SIGINT; no run had begun, so there is nothing to resume" in said.err
        assert not list(tmp_path.iterdir())

    def test_where_wandb_has_its_runs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        plan = planned(*TINY[:-3], "seed=0,1,2", "logger.entity=my-lab", "logger.project=skips")
        sweep = SweepFolder.create(Path("out"), "a b", plan.words, None, None, plan.runs)
        loggers = [config.logger for config in plan.configs]
        assert not list(describe_wandb(sweep, loggers))
        for run, project in zip(sweep.runs[1:], ("skips", "began-here"), strict=True):
            (sweep.folder(run).path / "wandb" / "offline-run-1").mkdir(parents=True)
            logger = {"entity": "my-lab", "project": project}
            sweep.folder(run).config.write_text(yaml.safe_dump({"logger": logger} if project != "skips" else {}))
        online = sweep.folder(sweep.runs[0])
        online.path.mkdir()
        Summary(wandb_url="https://wandb.ai/my-lab/skips/runs/abc").write(online.summary)
        assert list(describe_wandb(sweep, loggers)) == [
            f"W&B  1 run online: https://wandb.ai/my-lab/skips, group {sweep.path.name}",
            "W&B  2 runs offline, my-lab/skips, my-lab/began-here; send them after wandb login: "
            f"wandb sync '{sweep.path}'/*/wandb/offline-run-*",
        ]
        assert not list(describe_wandb(sweep, [config.logger for config in planned(*TINY, "seed=0,1").configs]))

    def test_data_mistakes_are_found_before_there_is_a_folder(self, cli: Cli, tmp_path: Path) -> None:
        said = cli("train", "-m", *TINY, "output=out", "seed=0,1", "trainer.monitor=val/loss,val/iou/nothing")
        assert "trainer.monitor=val/iou/nothing: there is no such score" in said.mistake
        assert not list(tmp_path.iterdir())

    def test_two_processes_do_not_write_to_one_sweep(self, cli: Cli, tmp_path: Path) -> None:
        plan = planned(*TINY, "seed=0,1", "sweep.report=false")
        sweep = SweepFolder.create(tmp_path, plan.name, plan.words, plan.config_dir, None, plan.runs)
        with hold_lock(sweep.lock):
            said = cli("train", f"sweep.resume={sweep.path}")
        assert "this sweep is still running" in said.mistake
        assert said.out == ""  # no word of too few pairs before it

    @pytest.mark.slow
    def test_wandb_shows_its_runs_as_one_group(self, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from unet_exp.training.loggers import wandb_run

        opened: list[tuple[str, str | None]] = []
        original = wandb_run.open_run

        def open_run(directory: Path, name: str, config: Any, settings: Any, *more: Any) -> Any:
            opened.append((name, settings.group))
            return original(directory, name, config, settings, *more)

        monkeypatch.setattr(wandb_run, "open_run", open_run)
        words = [word for word in TINY if word != "logger=csv"]
        assert cli("train", "-m", *words, "output=out", "seed=0,1", "logger.mode=disabled").code == 0
        name = the_sweep(tmp_path / "out").path.name
        assert opened == [("seed=0", name), ("seed=1", name)]
        assert cli("train", "-m", *words, "output=mine", "seed=5", "logger.group=g", "logger.mode=disabled").code == 0
        assert opened[-1] == ("run", "g")

    @pytest.mark.slow
    def test_a_launcher_that_dies_is_told_and_the_sweep_concluded(
        self, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from hydra._internal.core_plugins.basic_launcher import BasicLauncher

        original = BasicLauncher.launch

        def launch(self: Any, jobs: Any, initial_job_idx: int) -> Any:
            original(self, jobs[:1], initial_job_idx)
            raise RuntimeError("a worker was killed")

        monkeypatch.setattr(BasicLauncher, "launch", launch)
        said = cli("train", "-m", *TINY, "output=out", "seed=0,1")
        assert "the launcher gave up: RuntimeError: a worker was killed" in said.out
        assert "failed: seed=1: its process has died" in said.out
        assert "1 of 2 runs failed: seed=1" in said.mistake
        assert (the_sweep(tmp_path / "out").path / "report.html").exists()

    @pytest.mark.slow
    def test_a_run_that_an_orphan_still_trains_is_left_to_it(self, cli: Cli, tmp_path: Path) -> None:
        assert cli("train", "-m", *TINY, "output=out", "seed=0,1", "sweep.report=false").code == 0
        sweep = the_sweep(tmp_path / "out")
        before = sweep.folder(sweep.runs[0]).summary.read_text()
        with hold_lock(sweep.folder(sweep.runs[0]).lock):
            said = cli("train", f"sweep.resume={sweep.path}")
        assert "seed=0 is still trained by a process of an earlier start" in said.mistake
        assert sweep.folder(sweep.runs[0]).summary.read_text() == before
        assert cli("train", f"sweep.resume={sweep.path}").code == 0  # nothing is left to do


@pytest.mark.slow
def test_peak_memory_is_counted_anew_for_each_run() -> None:
    import torch

    from unet_exp.inference.device import peak_memory, reset_peak_memory

    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError as error:
        pytest.skip(f"only Linux can start the count anew, where it is allowed: {error}")
    cpu = torch.device("cpu")
    reset_peak_memory(cpu)
    with mmap.mmap(-1, 2**28) as large:  # malloc may keep what is freed
        for page in range(0, len(large), mmap.PAGESIZE):
            large[page] = 1
    before = peak_memory(cpu)
    reset_peak_memory(cpu)
    assert before - peak_memory(cpu) > 2**27


class TestSearch:
    WORDS = (
        *TINY, "trainer.max_steps=8", "data.batch_size=1", "data.tiles_per_epoch=2", "search=optuna",
        "search.startup_trials=1", "search.warmup_validations=0", "fusion=concat,add",
        "optimizer.lr=tag(log,interval(0.0001,0.1))",
    )  # fmt: skip

    @pytest.mark.slow
    def test_trials_are_run_pruned_recorded_and_gone_on_with(self, cli: Cli, tmp_path: Path) -> None:
        said = cli("train", *self.WORDS, "output=out", "search.trials=4")
        assert said.code == 0, said
        search = the_sweep(tmp_path / "out")
        assert search.path.name.endswith("_lr-dropout-fusion")
        trials = table(search.path / "trials.csv")
        assert len(trials) == 4
        for run, trial in zip(search.runs, trials, strict=True):
            told = summary(search.folder(run))
            if trial["status"] == "finished":
                assert told["status"] == "finished"
                assert told["best"]["value"] == float(trial["val/iou/mean"])
            else:
                assert (trial["status"], told["status"]) == ("pruned", "stopped")
                assert 0 < told["pruned_at"] < 8
                assert told["metrics"] == {}
        assert {path.name for path in search.path.iterdir() if path.is_file()} == {
            *("sweep.json", "search.json", "trials.csv", "search.png", "best.txt", "search.journal", ".lock", ".ask")
        }
        best = max((row for row in trials if row["status"] == "finished"), key=lambda row: row["val/iou/mean"])
        assert f"fusion={best['fusion']}" in (search.path / "best.txt").read_text()

        # The last trial was broken off: its number and words come again, then two more.
        last = search.folder(search.runs[-1])
        Summary(status="running").write(last.summary)
        times = [search.folder(run).summary.stat().st_mtime_ns for run in search.runs[:3]]
        said = cli("train", f"sweep.resume={search.path}", "search.trials=6")
        assert said.code == 2  # the study was told of that trial, and does not ask again
        assert f"failed: {last.path.name}: its process has died" in said.out
        search = SweepFolder.open(search.path)
        assert [run.name for run in search.runs] == [f"trial-{number:03d}" for number in range(6)]
        assert [search.folder(run).summary.stat().st_mtime_ns for run in search.runs[:3]] == times
        assert len(table(search.path / "trials.csv")) == 6

    @pytest.mark.slow
    def test_the_same_words_are_trained_once(self, cli: Cli, tmp_path: Path) -> None:
        words = (*TINY, "search=optuna", "search.space.model.dropout=null", "search.space.optimizer.lr=null")
        more = ["fusion=concat,add,none", "search.trials=30", "scheduler.warmup_steps=9"]
        said = cli("train", *words, *more, "output=out")
        assert said.code == 0, said
        assert said.out.startswith(
            "search over fusion (concat, add, none): 30 trials\nwarning: the training ends after 2"
        )
        assert "\nwarning: in all 3 trials: the training ends after 2 steps, within scheduler.warm" in said.out
        search = the_sweep(tmp_path / "out")
        trials = table(search.path / "trials.csv")
        folders = {run.name: summary(search.folder(run)) for run in search.runs}
        assert len(folders) == 3
        assert 3 < len(trials) < 30
        for number, trial in enumerate(trials):
            told = folders[f"trial-{int(trial['repeats'] or number):03d}"]
            assert float(trial["val/iou/mean"]) == told["best"]["value"]
            line = f"trial {number} repeats trial {trial['repeats']} and is not run: val/iou/mean "
            assert (line in said.out) == (trial["repeats"] != "")
        repeated = len(trials) - 3
        assert f"trials: 3 finished, {repeated} repeated\n" in said.out
        assert f"3 of 30 done, {repeated} repeated, 0 failed, 0 running" in said.out
        assert "space has 3 combinations, and each has its trial: the search ends before search.trials=30" in said.out

    @pytest.mark.slow
    def test_a_trial_that_was_broken_off_comes_again(
        self, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from unet_exp.training import run as module

        with monkeypatch.context() as patch:

            def interrupted(*_: Any) -> RunFolder:
                raise KeyboardInterrupt

            patch.setattr(module, "train", interrupted)
            assert cli("train", *self.WORDS, "output=out", "search.trials=2").code == 130
        search = the_sweep(tmp_path / "out")
        (first,) = search.runs
        said = cli("train", f"sweep.resume={search.path}")
        assert said.code == 0, said
        again = SweepFolder.open(search.path)
        assert again.runs[0] == first
        assert len(again.runs) == 2
        assert summary(again.folder(first))["status"] == "finished"

    @pytest.mark.slow
    def test_as_many_at_once_as_joblib_runs(self) -> None:
        words = [word for word in self.WORDS if not word.startswith("search.")]
        side_by_side = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=3"]
        for more, parallel in ([], 1), (side_by_side, 3), ([*side_by_side, "search.parallel=2"], 2):
            search = planned(*words, *more).search
            assert search is not None
            assert search.parallel == parallel


class TestProgress:
    def test_it_counts_what_the_folders_say(self, tmp_path: Path) -> None:
        runs = [PlannedRun(f"seed={seed}", []) for seed in range(4)]
        sweep = SweepFolder.create(tmp_path, "x", ["seed=range(4)"], None, None, runs)
        statuses = ("finished", "failed", "running")
        with (tmp_path / "out.txt").open("w") as file, SweepProgress(sweep, 4, Console(file=file)):
            for run, status in zip(runs, statuses, strict=False):
                folder = sweep.folder(run)
                folder.path.mkdir()
                Summary(status=status).write(folder.summary)
        assert re.fullmatch(r"1 of 4 done, 1 failed, 1 running, about 0 s left\n", (tmp_path / "out.txt").read_text())

    def test_what_is_stopped_takes_no_more_time(self, tmp_path: Path) -> None:
        runs = [PlannedRun(f"seed={seed}", []) for seed in range(2)]
        sweep = SweepFolder.create(tmp_path, "x", ["seed=range(2)"], None, None, runs)

        def stop() -> None:
            with (tmp_path / "out.txt").open("w") as file, SweepProgress(sweep, 2, Console(file=file)):
                sweep.folder(runs[0]).path.mkdir()
                Summary(status="stopped").write(sweep.folder(runs[0]).summary)
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            stop()
        assert (tmp_path / "out.txt").read_text() == "0 of 2 done, 1 stopped, 0 failed, 0 running\n"

    def test_what_an_earlier_start_left_does_not_count_before_it_runs_again(self, tmp_path: Path) -> None:
        runs = [PlannedRun(f"seed={seed}", []) for seed in range(3)]
        sweep = SweepFolder.create(tmp_path, "x", [], None, None, runs)
        for run, status in zip(runs, ("failed", "running", "finished"), strict=True):
            sweep.folder(run).path.mkdir()
            Summary(status=status).write(sweep.folder(run).summary)
        with (tmp_path / "out.txt").open("w") as file, SweepProgress(sweep, 3, Console(file=file)):
            Summary(status="finished", seed=1).write(sweep.folder(runs[0]).summary)
        assert re.fullmatch(r"2 of 3 done, 0 failed, 0 running, about \d s left\n", (tmp_path / "out.txt").read_text())


def _start(*words: str, output: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, str(SCRIPT), "-m", *TINY, f"output={output}", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


@pytest.mark.slow
def test_killed_in_the_middle_it_resumes_to_the_undisturbed_table(cli: Cli, tmp_path: Path) -> None:
    """Eight runs, one of them made to fail; SIGKILL while the sweep runs."""
    words = ["trainer.max_steps=4", "optimizer=sgd", "optimizer.lr=1e30,1e-3,1e-4,1e-5", "seed=0,1"]
    process = _start(*words, output=tmp_path / "killed")
    assert process.stdout is not None
    for line in process.stdout:
        if re.match(r"[3-8] of 8 done", line):
            break
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    killed = the_sweep(tmp_path / "killed")
    done = {
        run.name: killed.folder(run).summary.stat().st_mtime_ns
        for run in killed.runs
        if killed.status(run) == "finished"
    }
    assert 0 < len(done) < 6
    assert cli("train", f"sweep.resume={killed.path}").code == 2  # the two that fail fail again
    assert {name: (killed.path / name / "summary.json").stat().st_mtime_ns for name in done} == done
    assert cli("train", "-m", *TINY, f"output={tmp_path / 'whole'}", *words).code == 2
    whole = the_sweep(tmp_path / "whole")
    finished_runs = [run for run in whole.runs if whole.status(run) == "finished"]
    assert len(finished_runs) == 6
    for run in finished_runs:
        assert table(killed.folder(run).per_image) == table(whole.folder(run).per_image)
    constant = [
        [
            {key: value for key, value in row.items() if key not in ("minutes", "peak_memory")}
            for row in table(sweep.path / "table.csv")
        ]
        for sweep in (killed, whole)
    ]
    assert constant[0] == constant[1]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_runs_in_other_processes_with_workers(launcher: str, cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip(f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher")
    words = [word for word in TINY if word != "logger=csv"]
    seeds = "0,1" if launcher == "joblib" else "1"  # submitit is tried with SLURM too
    more = ["data.num_workers=1", "logger.mode=offline", f"seed={seeds}", f"hydra/launcher={launcher}"]
    said = cli("train", "-m", *words, *more, f"output={tmp_path / 'out'}")
    assert said.code == 0, said
    sweep = the_sweep(tmp_path / "out")
    for run in sweep.runs:
        assert summary(sweep.folder(run))["status"] == "finished"
        assert list((sweep.folder(run).path / "wandb").glob("offline-run-*"))
    here = cli("train", *TINY, "seed=1", f"output={tmp_path / 'alone'}").folder
    assert table(sweep.folder(sweep.runs[-1]).per_image) == table(RunFolder(here).per_image)


@pytest.mark.parametrize(("variable", "program"), [("WORLD_SIZE", "torchrun"), ("SLURM_STEP_NUM_TASKS", "srun")])
def test_it_is_one_process(variable: str, program: str, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "2")
    assert cli("train", "-m", *TINY, "seed=0,1").mistake.startswith(f"{program} has started 2 processes")


@pytest.mark.parametrize("word", ["resume=/somebody/elses/run", "rerun=/x", "output=a,b"])
def test_a_strangers_sweep_cannot_name_a_run_or_another_place(word: str, tmp_path: Path) -> None:
    plan = {"created": "2026-01-01", "words": ["seed=0,1", word], "config_dir": None, "search": None, "runs": []}
    (tmp_path / "sweep.json").write_text(json.dumps(plan))
    with pytest.raises(ConfigError, match=word.partition("=")[0]):
        read_command([f"sweep.resume={tmp_path}"])
