"""docs/notebook.ipynb holds what its cells print, and they run from top to bottom."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "notebook.ipynb"
MOST_BYTES = 300_000


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def list_results(notebook: dict[str, Any]) -> list[list[set[str]]]:
    """The kinds of the pictures and values of each cell; what is printed differs from machine to machine."""
    return [[set(output["data"]) for output in cell["outputs"] if "data" in output] for cell in code_cells(notebook)]


def test_it_holds_one_run_from_top_to_bottom():
    cells = code_cells(json.loads(NOTEBOOK.read_text()))
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert all(cell["outputs"] for cell in cells)
    assert not [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"]


def test_it_is_small_and_says_nothing_of_the_machine_and_the_hour():
    text = NOTEBOOK.read_text()
    assert len(text) < MOST_BYTES
    assert all(not cell["metadata"] for cell in json.loads(text)["cells"])
    assert not re.findall(r"(?<![\w.])/(?:tmp|root|home|work|Users|usr|opt|var)/\S*", text)
    assert "\\u001b" not in text  # codes of colours and bars


def test_its_links_lead_to_pages():
    links = re.findall(r"\]\(([^)#]+)", NOTEBOOK.read_text())
    assert links
    assert all((NOTEBOOK.parent / link).is_file() for link in links)


@pytest.mark.slow
def test_it_runs_from_top_to_bottom(tmp_path, monkeypatch):
    runner = pytest.importorskip("run_notebook", reason="pip install -e '.[notebook]'")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    kept = NOTEBOOK.read_bytes()
    done = runner.run_notebook(NOTEBOOK, tmp_path)
    assert NOTEBOOK.read_bytes() == kept
    assert list_results(done) == list_results(json.loads(kept))
    printed = [output.get("text", "") for cell in code_cells(done) for output in cell["outputs"]]
    assert any("as predictor.probabilities gives them: True" in text for text in printed)
    assert len(list(tmp_path.glob("outputs/*/*/summary.json"))) == 1
    assert len(list(tmp_path.glob("outputs/*/*/*/summary.json"))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("code", ["1 / 0", "%%bash\nexit 3"])
def test_a_cell_that_fails_is_an_error(code, tmp_path, monkeypatch):
    runner = pytest.importorskip("run_notebook", reason="pip install -e '.[notebook]'")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = json.loads(NOTEBOOK.read_text())
    notebook["cells"] = [{**code_cells(notebook)[0], "outputs": [], "source": code}]
    (tmp_path / "failing.ipynb").write_text(json.dumps(notebook))
    with pytest.raises(runner.CellExecutionError):
        runner.run_notebook(tmp_path / "failing.ipynb", tmp_path)
