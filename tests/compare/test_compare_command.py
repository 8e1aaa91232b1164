"""The command that compares: where its page goes, what it prints, and what it says of mistakes."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Said
from sweeps_on_disk import FUSIONS, compared, write_run, write_sweep

Cli = Callable[..., Said]


def test_a_sweep_gets_its_page_in_its_own_folder(cli: Cli, tmp_path: Path) -> None:
    write_sweep(tmp_path / "sweep", FUSIONS, seeds=4, folds=2)
    write_run(tmp_path / "sweep" / "broken", {"seed": 9}, status="failed", error="ValueError: no luck")
    said = cli("compare", "runs=sweep")
    assert said.folder == Path("sweep/report.html")
    assert (tmp_path / said.folder).is_file()
    for difference in compared(tmp_path / "sweep").differences:
        assert difference.sentence in said.out
    assert "excluded: sweep/broken: " in said.out
    table = [line for line in said.out.splitlines() if line[:1] in "┏┃┡│└"]
    assert len(table) == 3 + 3 + 1, "one line a group"
    assert max(map(len, table)) <= 120


def test_several_places_get_a_folder_of_their_own(cli: Cli, tmp_path: Path) -> None:
    write_sweep(tmp_path / "one", FUSIONS[:1], seeds=2)
    write_sweep(tmp_path / "two", FUSIONS[1:], seeds=2)
    said = cli("compare", "runs=[one,two]")
    assert said.folder.parts[:2] == ("outputs", "compare")
    assert (tmp_path / said.folder).is_file()
    assert cli("compare", "runs=[one,two]", "output=here", "metric=loss").folder == Path("here/report.html")
    assert cli("compare", "runs=t*", "output=there").folder == Path("there/report.html")


@pytest.mark.parametrize("word", ["metric=accuracy", "baseline=fusion=add", "alpha=0.1"])
def test_another_question_leaves_the_page_of_the_sweep_as_it_is(cli: Cli, tmp_path: Path, word: str) -> None:
    write_sweep(tmp_path / "sweep", FUSIONS[:2], seeds=2)
    (tmp_path / "sweep" / "report.html").write_text("its own")
    other = cli("compare", "runs=sweep", word).folder
    assert other.parts[:2] == ("outputs", "compare")
    assert (tmp_path / other).is_file()
    assert (tmp_path / "sweep" / "report.html").read_text() == "its own"


def test_names_with_commas_and_brackets(cli: Cli, tmp_path: Path) -> None:
    write_sweep(tmp_path / "[bold]s:smile:", FUSIONS, seeds=2)
    places = ",".join(f"'[bold]s:smile:/fusion={word},seed=0'" for word in ("concat", "add"))
    said = cli("compare", f"runs=[{places}]", "output=[red]out")
    assert said.folder == Path("[red]out/report.html")
    assert "fusion=add has too few pairs with fusion=concat" in said.out
    assert "iou/mean, baseline fusion=concat" in said.out
    assert cli("compare", "runs=[bold]s:smile:").folder == Path("[bold]s:smile:/report.html")


def test_a_home_folder_is_expanded(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    write_sweep(tmp_path / "home" / "sweep", FUSIONS[:2], seeds=2)
    assert cli("compare", "runs=~/sweep").folder == tmp_path / "home" / "sweep" / "report.html"
    assert cli("compare", "runs=~/sweep", "output=~/page").folder == tmp_path / "home" / "page" / "report.html"


def test_the_verdict_is_told_where_the_page_cannot_be_written(cli: Cli, tmp_path: Path) -> None:
    write_sweep(tmp_path / "sweep", FUSIONS[:2], seeds=2)
    (tmp_path / "file").touch()
    said = cli("compare", "runs=sweep", "output=file/page")
    assert said.code == 2
    assert compared(tmp_path / "sweep").differences[0].sentence in said.out


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ([], "runs=<folder> is missing"),
        (["runs=nowhere"], "nowhere: there is no such folder"),
        (["runs=empty"], "empty: no run is in there"),
        (["runs=sweep", "metric=beauty"], "beauty"),
        (["runs=sweep", "baseline=nobody"], "nobody"),
        (["runs=sweep", "alpha=2"], "alpha=2"),
        (["run=sweep"], "unknown key run (did you mean runs?); the keys are runs, baseline, metric, alpha, output"),
        (
            ["runs=sweep", "output=file/page"],
            "file/page cannot be written (Not a directory); choose another folder with output=",
        ),
        (["runs=sweep", "output=taken"], "taken/table.csv cannot be written"),
        (["runs=~nobody-at-all/x"], "~nobody-at-all/x: there is no such folder"),
        (["sweep"], "sweep: all is typed as key=value; did you mean runs=sweep?"),
        (["runs"], "did you mean runs=...?"),
        (["sweep/fusion=add,seed=0"], "did you mean runs=sweep/fusion=add,seed=0?"),
        (["runs=outputs/sweep/nope"], "there is no such folder; runs are in outputs/train, sweeps in outputs/sweep"),
        (["runs=sweep", "metric=iou"], "metric=iou: the runs do not have it (did you mean iou/mean?); choose one of"),
        (["runs=sweep,other"], "sweep,other: there is no such folder; several are written as runs=[a,b]"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(cli: Cli, tmp_path: Path, words: list[str], part: str) -> None:
    write_sweep(tmp_path / "sweep", FUSIONS[:2], seeds=2)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "taken" / "table.csv").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    assert part in cli("compare", *words).mistake
    assert sorted(tmp_path.rglob("*")) == before


def test_help(cli: Cli) -> None:
    assert "baseline" in cli("compare", "--help").out


@pytest.mark.slow
def test_the_command_does_not_import_torch() -> None:
    code = "import unet_exp.cli.compare, unet_exp.compare.report, sys; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
