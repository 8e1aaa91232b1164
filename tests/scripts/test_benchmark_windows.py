"""Windows of each kind of file are measured, beside all of it."""

import json

import pytest


@pytest.mark.slow
def test_windows_of_a_kind(cli, tmp_path):
    words = ["slices=3", "side=64", "window=16", "windows=2", "kinds=[hdf5,dicom]", f"output={tmp_path}"]
    measured = cli("benchmark_windows", *words)
    assert measured.code == 0, measured.err
    assert "3 slices of 64 x 64, 16 bits" in measured.out
    costs = json.loads((tmp_path / "benchmark_windows.json").read_text())["costs"]
    assert [cost["kind"] for cost in costs] == ["hdf5", "dicom"]
    assert all(cost["window_seconds"] > 0 and cost["size"] > 1000 for cost in costs)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["kinds=[raw]"], "kinds=raw: no such kind; choose from numpy, tiff, nifti"),
        (["window=2000"], "window=2000 is larger than side=1024"),
        (["slices=0"], "slices=0"),
    ],
)
def test_mistakes(words, said, cli):
    measured = cli("benchmark_windows", *words)
    assert measured.code == 2
    assert said in measured.err
