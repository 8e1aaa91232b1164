"""Images in which no pixel counts: a training beside them gives the numbers of one without them."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TINY_STACK, Said, run_training, summary, table
from torch import Tensor, nn

from unet_exp.config import IGNORE_LABEL
from unet_exp.errors import DataError
from unet_exp.io.writing import write_image
from unet_exp.runs.run_folder import RunFolder

WORDS = [
    *TINY_STACK, "data=folder", "data.split=folders", "data.ignore=9", "data.tile=32", "data.batch_size=1",
    "data.classes=[{name: background, value: 0}, {name: cell, value: 1}]", "model=same", "trainer.max_steps=4",
]  # fmt: skip


def put(root: Path, part: str, name: str, ignored: bool) -> None:
    random = np.random.default_rng([ord(name)])
    label = (random.random((32, 32)) < 0.5).astype(np.uint8)
    grey = (label * 150 + random.integers(0, 60, label.shape)).astype(np.uint8)
    for place, array in (("images", grey), ("masks", np.full_like(label, 9) if ignored else label)):
        path = root / place / part / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, array)


def images(root: Path, ignored: str = "", left_out: str = "") -> list[str]:
    """Words for images a and b to train on, c, d and e to validate, f and g to test."""
    for part, names in {"train": "ab", "val": "cde", "test": "fg"}.items():
        for name in set(names) - set(left_out):
            put(root, part, name, name in ignored)
    return [*WORDS, f"data.images={root}/images", f"data.masks={root}/masks"]


class MeanOfNothing(nn.Module):
    """PyTorch's own cross-entropy, which is nan where no pixel counts."""

    def forward(self, logits: Tensor, label: Tensor, pixel_weights: Tensor | None = None) -> Tensor:
        del pixel_weights
        return nn.functional.cross_entropy(logits.float(), label.long(), ignore_index=IGNORE_LABEL)


def numbers(folder: RunFolder) -> Any:
    told = summary(folder)
    rows = [{key: value for key, value in row.items() if key != "seconds"} for row in table(folder.metrics)]
    return rows, told["metrics"], told["best"]


@pytest.mark.parametrize(
    "loss",
    [
        pytest.param("cross_entropy", marks=pytest.mark.slow),
        pytest.param("border_weighted", marks=pytest.mark.slow),
        "dice",
        f"custom loss.target={__name__}.MeanOfNothing",
    ],
)
def test_they_count_as_nothing_in_validation_and_test(tmp_path: Path, loss: str) -> None:
    words = [f"loss={loss.split()[0]}", *loss.split()[1:], "trainer.monitor=val/loss"]
    beside = run_training(tmp_path, *words, base=images(tmp_path / "beside", ignored="ceg"))
    without = run_training(tmp_path, *words, base=images(tmp_path / "without", left_out="ceg"))
    assert numbers(beside) == numbers(without)
    first, second = table(beside.per_image)
    assert [first] == table(without.per_image)
    assert second.pop("image") == "test_g"
    assert all(math.isnan(float(score)) for score in second.values())
    assert (beside.predictions / "test_g.png").exists()


@pytest.mark.slow
def test_evaluate_leaves_them_out_too(tmp_path: Path, cli: Callable[..., Said]) -> None:
    words = images(tmp_path / "beside", ignored="ce")
    folder = run_training(tmp_path, base=words)
    said = cli("evaluate", f"checkpoint={folder.last}", "split=val", "output=out")
    found = summary(RunFolder(said.folder))["metrics"]
    assert found["val/loss"] == pytest.approx(float(table(folder.metrics)[-1]["val/loss"]), rel=1e-5)
    assert [row["loss"] == "nan" for row in table(RunFolder(said.folder).per_image)] == [True, False, True]


@pytest.mark.parametrize("more", [[], ["trainer.limit_batches=2"]])
def test_a_training_that_could_not_be_validated_is_refused_before_it_starts(tmp_path: Path, more: list[str]) -> None:
    words = images(tmp_path / "data", ignored="cd" if more else "cde")
    with pytest.raises(DataError, match=r"every pixel of the validation images \(val_c, val_d.* is ignored, so that"):
        run_training(tmp_path, *more, base=words)
    assert not (tmp_path / "train").exists()
