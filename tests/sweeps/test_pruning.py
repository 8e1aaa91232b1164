"""Pruning inside a run: when a bad trial is stopped, and what stops nothing."""

import logging
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import table
from searching import ask, opener

from unet_exp.runs.study_storage import StudyAddress
from unet_exp.sweeps.run_search import write_results
from unet_exp.sweeps.search import Search
from unet_exp.sweeps.study import Outcome


@pytest.fixture(autouse=True)
def _no_wait_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Optuna has each line written through; a busy disk takes longer for that than all else here."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def search(tmp_path: Path) -> Callable[..., Search]:
    return opener(tmp_path)


class Trainer(SimpleNamespace):
    """As much of Lightning's trainer as the callback sees."""

    def __init__(self) -> None:
        super().__init__(is_global_zero=True, should_stop=False, global_step=0, callback_metrics={})
        self.strategy = SimpleNamespace(reduce_boolean_decision=lambda decision, **_: decision)


def trained(journal: Path, number: int, scores: list[float], state: dict[str, Any] | None = None) -> Any:
    """A training with these validation scores, ten steps each; returns its `Pruning`."""
    from unet_exp.training.pruning import Pruning

    pruning: Any = Pruning(StudyAddress(str(journal), "search"), number, "val/iou/mean")
    if state is not None:
        pruning.load_state_dict(state)
    trainer: Any = Trainer()
    pruning.on_fit_start(trainer, None)
    for index, score in enumerate(scores):
        trainer.global_step += 10
        trainer.should_stop = index == len(scores) - 1
        trainer.callback_metrics = {"val/iou/mean": score}
        pruning.on_validation_end(trainer, None)
        if trainer.should_stop:
            break
    return pruning


GOOD, BAD = [0.5, 0.6, 0.7, 0.8, 0.9, 0.9], [0.1, 0.1, 0.1, 0.1, 0.1, 0.1]


class TestPruning:
    def started(self, search: Callable[..., Search], tmp_path: Path, good: int = 3, **changes: Any) -> Search:
        """A study with good trials told of and one out."""
        study = search(trials=20, **{"startup_trials": 3, **changes})
        for _ in range(good):
            trial = ask(study)
            assert trained(tmp_path / "search.journal", trial.number, GOOD).pruned_at is None
            study.tell(trial.number, Outcome("finished", max(GOOD)))
        study.ask()
        return study

    def test_a_bad_trial_is_stopped_after_its_warm_up(self, search: Callable[..., Search], tmp_path: Path) -> None:
        study = self.started(search, tmp_path)
        pruning = trained(tmp_path / "search.journal", 3, BAD)
        assert pruning.pruned_at == 30  # the third validation: two are the warm-up
        study.tell(3, Outcome("pruned"))
        assert study.counts()["pruned"] == 1
        write_results(study, tmp_path)
        row = table(tmp_path / "trials.csv")[3]
        assert (row["status"], row["validations"], float(row["val/iou/mean"])) == ("pruned", "3", 0.1)

    @pytest.mark.parametrize(
        ("changes", "good", "pruned"),
        [
            ({"warmup_validations": 0}, 3, 10),
            ({"warmup_validations": 4}, 3, 50),
            ({"pruner": "none"}, 3, None),
            ({}, 2, None),  # too few have finished
            ({"pruner": "successive_halving"}, 3, 30),
            ({"pruner": "hyperband", "warmup_validations": 0}, 3, 20),
        ],
    )
    def test_when(
        self, search: Callable[..., Search], tmp_path: Path, changes: dict[str, Any], good: int, pruned: int | None
    ) -> None:
        self.started(search, tmp_path, good, **changes)
        assert trained(tmp_path / "search.journal", good, BAD).pruned_at == pruned

    def test_a_good_trial_and_one_at_its_end_are_not_pruned(
        self, search: Callable[..., Search], tmp_path: Path
    ) -> None:
        study = self.started(search, tmp_path)
        assert trained(tmp_path / "search.journal", 3, GOOD).pruned_at is None
        study.tell(3, Outcome("finished", max(GOOD)))
        study.ask()
        assert trained(tmp_path / "search.journal", 4, BAD[:3]).pruned_at is None

    def test_scores_that_are_not_finite_are_not_reported(self, search: Callable[..., Search], tmp_path: Path) -> None:
        study = self.started(search, tmp_path)
        assert trained(tmp_path / "search.journal", 3, [math.nan, math.inf, math.nan, 0.1, 0.1]).pruned_at == 40
        write_results(study, tmp_path)
        assert table(tmp_path / "trials.csv")[3]["validations"] == "1"

    def test_a_run_that_starts_again_passes_what_it_has_passed(
        self, search: Callable[..., Search], tmp_path: Path
    ) -> None:
        study = self.started(search, tmp_path, warmup_validations=4)
        assert trained(tmp_path / "search.journal", 3, BAD[:4]).pruned_at is None  # killed
        assert trained(tmp_path / "search.journal", 3, BAD).pruned_at == 50
        write_results(study, tmp_path)
        assert table(tmp_path / "trials.csv")[3]["validations"] == "5"

    def test_a_resumed_training_goes_on_counting(self, search: Callable[..., Search], tmp_path: Path) -> None:
        self.started(search, tmp_path, warmup_validations=4)
        state = trained(tmp_path / "search.journal", 3, BAD[:4]).state_dict()
        assert trained(tmp_path / "search.journal", 3, BAD, state).pruned_at == 10

    @pytest.mark.parametrize("damage", ["missing", "garbage", "no such trial", "told", "vanishes"])
    def test_a_journal_that_cannot_be_used_costs_one_warning(
        self, search: Callable[..., Search], tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        study = self.started(search, tmp_path)
        journal = tmp_path / "search.journal"
        number = 3
        if damage == "missing":
            journal = tmp_path / "elsewhere" / "search.journal"
        elif damage == "garbage":
            journal.write_bytes(b"no journal\n" + journal.read_bytes())
        elif damage == "no such trial":
            number = 17
        elif damage == "told":
            study.tell(3, Outcome("failed"))
        else:
            from unet_exp.training.pruning import Pruning

            pruning: Any = Pruning(StudyAddress(str(journal), "search"), number, "val/iou/mean")
            trainer: Any = Trainer()
            pruning.on_fit_start(trainer, None)
            shutil.rmtree(tmp_path)
            trainer.callback_metrics = {"val/iou/mean": 0.1}
            for _ in range(5):
                pruning.on_validation_end(trainer, None)
            assert not trainer.should_stop
        if damage != "vanishes":
            with caplog.at_level(logging.WARNING):
                assert trained(journal, number, BAD).pruned_at is None
        (warning,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert str(journal) in warning
        assert "runs to its end" in warning

    def test_lightning_stops_where_it_says(self, search: Callable[..., Search], tmp_path: Path) -> None:
        import pytorch_lightning as pl
        import torch
        from torch.utils.data import DataLoader, TensorDataset

        from unet_exp.training.pruning import Pruning

        class Bad(pl.LightningModule):
            def __init__(self) -> None:
                super().__init__()
                self.layer = torch.nn.Linear(1, 1)

            def training_step(self, batch: Any) -> Any:
                return self.layer(batch[0]).mean()

            def validation_step(self, *_: Any) -> None:
                self.log("val/iou/mean", 0.1)

            def configure_optimizers(self) -> Any:
                return torch.optim.SGD(self.parameters(), 0.1)

        self.started(search, tmp_path)
        pruning = Pruning(StudyAddress(str(tmp_path / "search.journal"), "search"), 3, "val/iou/mean")
        loader: Any = DataLoader(TensorDataset(torch.zeros(4, 1)), batch_size=1)
        trainer = pl.Trainer(
            accelerator="cpu", max_epochs=6, callbacks=[pruning], logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, min_epochs=0,
        )  # fmt: skip
        trainer.fit(Bad(), loader, loader)
        assert pruning.pruned_at == trainer.global_step == 12
