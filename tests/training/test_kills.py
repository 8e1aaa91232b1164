"""Trainings that are killed with SIGKILL and resumed end as if nothing had been; `kills.py` does it a hundred times."""

from pathlib import Path

import pytest
from killable import GAPS
from kills import Kill, Landed, Plan, draw, report, run
from resuming import SETTINGS


@pytest.mark.slow
def test_killed_between_the_two_moves_of_a_checkpoint(tmp_path: Path) -> None:
    name = "last.ckpt between the two moves"
    number = [gap.name for gap in GAPS].index(name)
    kill = Kill("gap", (number + 0.5) / len(GAPS), 0.9, auto=False)
    (result,) = run([Plan(0, "clipped, few batches", cold=False, often=True, kills=(kill,))], tmp_path)
    assert not result.mistake
    assert result.kills == [Landed(name, saving=True, torn=True, then="from last-1")]


@pytest.mark.slow
def test_killed_at_any_moment_again_and_again(tmp_path: Path) -> None:
    results = run(draw(trainings=2, cold=1, seed=389), tmp_path)
    assert not [result.mistake for result in results if result.mistake]
    assert not sum(result.workers_left for result in results)
    assert all(result.kills for result in results)
    assert any(kill.saving for result in results for kill in result.kills)
    table = "\n".join(report(results))
    assert all(name in table for name in SETTINGS)
