"""The costs of many runs are measured: their files, their comparison and their sweep."""

import json

import pytest


@pytest.mark.slow
def test_costs_of_a_few_runs(cli, tmp_path):
    words = ["count=6", "groups=2", "images=3", "epochs=2", "parts=[compare,sweep]"]
    measured = cli("benchmark_runs", *words, f"output={tmp_path}")
    assert measured.code == 0, measured.err
    told = json.loads((tmp_path / "benchmark_runs.json").read_text())
    costs = {cost["what"].strip(): cost for cost in told["costs"]}
    assert all(cost["runs"] == 6 for cost in costs.values())
    assert costs["compare.py"]["peak"] > 50e6
    assert costs["report.html"]["written"] > 10_000
    for what in ("sweep: read and check all words", "resume: all around the trainings"):
        assert costs[what]["cpu"] > 0
    (files,) = told["files"].values()
    assert files["summary.json"][0] == files["config.yaml"][0] == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["parts=[train]"], "parts"),
        (["count=3", "groups=4"], "groups=4 are more than count=3"),
        (["count=0"], "count=0"),
    ],
)
def test_mistakes(words, said, cli):
    measured = cli("benchmark_runs", *words)
    assert measured.code == 2
    assert said in measured.err
