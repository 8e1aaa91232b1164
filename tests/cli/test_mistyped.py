"""Words that a command cannot use: without a key, or with a key of another command."""

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Said

Cli = Callable[..., Said]
ALL = "all is typed as key=value"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("check_data there", f"there: {ALL}; did you mean data=folder data.root=there?"),
        ("check_data ../cells8", f"../cells8: {ALL}; did you mean data=folder data.root=../cells8?"),
        ("check_data there data=folder", "did you mean data.root=there?"),
        ("check_data a/i a/m", "did you mean data=folder data.images=a/i data.masks=a/m?"),
        ("check_data nowhere", "cannot read 'nowhere': words look like model=same"),
        ("train there", f"cannot read 'there': {ALL}; images of your own are data=folder data.images=<folder>"),
        ("preview ../x", "python scripts/check_data.py data=folder data.root=../x finds them"),
        ("predict RUN ../new ../m2", "did you mean checkpoint=RUN input=../new output=../m2?"),
        ("predict RUN input=../new", f"RUN: {ALL}; did you mean checkpoint=RUN?"),
        ("predict checkpoint=RUN ../new", f"../new: {ALL}; did you mean input=../new?"),
        ("predict RUN a b c d", f"RUN: {ALL}; did you mean checkpoint=RUN?"),
        ("predict checkpoint=RUN probabilities", "did you mean probabilities=...?"),
        ("evaluate runs/a=b", "did you mean checkpoint=runs/a=b?"),
        ("evaluate val checkpoint=RUN output=o", f"val: {ALL}; the keys are checkpoint, split"),
        ("predict RUN ~/new", "did you mean checkpoint=RUN 'input=~/new'?"),
        ("compare a b/c", f"a b/c: {ALL}; did you mean 'runs=[a,b/c]'?"),
        ("compare a/lr=1,seed=0 b", """did you mean 'runs=["a/lr=1,seed=0",b]'?"""),
        ("compare a b runs=c", f"a: {ALL}; the keys are runs, "),
        ("export RUN model.onnx", "did you mean checkpoint=RUN output=model.onnx?"),
    ],
)
def test_a_word_without_a_key(cli: Cli, tmp_path: Path, line: str, told: str) -> None:
    (tmp_path / "there").mkdir()
    assert told in cli(*line.split()).mistake


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("predict instance_smallest=20", "unknown key instance_smallest (did you mean instances_smallest?); what can"),
        ("predict threshold=0.8", "unknown key threshold; probabilities=true writes probabilities, for a threshold of"),
        ("evaluate threshold=0.8", "unknown key threshold; what can be typed here is checkpoint, split"),
        ("predict metric=v_rand", "unknown key metric; what can be typed here is checkpoint, input"),
        ("predict ckpt_path=x", "unknown key ckpt_path (did you mean checkpoint?); what can"),
        ("predict data.images=x", "unknown key data.images (did you mean input?); what can"),
        ("predict data.axis=x", "unknown key data.axis (did you mean data.axes?); what can"),
        ("predict checkpoint=no.pt input=y ~data.nodata", "checkpoint=no.pt: there is no such file"),  # it sets null
        ("predict seed=3", "seed: a trained network keeps its own; what can be typed here is checkpoint, input"),
        ("predict experiment=small", "experiment: a trained network keeps its own"),
        ("export opsset=3", "unknown key opsset (did you mean opset?); the keys are checkpoint, output, opset, trust"),
    ],
)
def test_a_key_that_a_command_does_not_have(cli: Cli, line: str, told: str) -> None:
    assert cli(*line.split()).mistake.startswith(told)
