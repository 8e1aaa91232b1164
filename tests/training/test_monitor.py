"""Which epoch a training keeps, and when it stops: the way in which the monitored score is better."""

import re
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from conftest import composed, summary, table
from own_images import put
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from torch.utils.data import DataLoader

from unet_exp.compare.collect import collect
from unet_exp.compare.comparison import compare_runs
from unet_exp.compose import compose_train
from unet_exp.config import parse
from unet_exp.runs.run_folder import RunFolder
from unet_exp.training.callbacks import build_callbacks
from unet_exp.training.loggers import TrainingLogger
from unet_exp.training.run import train

RISING, FALLING = (0.2, 0.9, 0.4, 0.3, 0.1), (0.9, 0.2, 0.4, 0.6, 0.8)


class Scored(pl.LightningModule):
    """Learns nothing, and has the scores that it is given, one a validation."""

    def __init__(self, name: str, scores: tuple[float, ...]) -> None:
        super().__init__()
        self._name, self._scores = name, scores
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch: Any, index: int) -> Any:
        del batch, index
        return self.weight.sum()

    def validation_step(self, batch: Any, index: int) -> None:
        del batch, index
        self.log(self._name, self._scores[self.current_epoch])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize(
    ("monitor", "scores"),
    [
        ("val/iou/forest_loss", RISING),
        ("val/iou/forest", RISING),
        ("val/dice/error", RISING),
        ("val/v_rand", RISING),
        ("val/loss", FALLING),
        ("val/rand_error", FALLING),
    ],
)
def test_the_best_epoch_is_kept_whatever_a_class_is_called(
    monitor: str, scores: tuple[float, ...], tmp_path: Path
) -> None:
    words = [f"trainer.monitor={monitor}", "trainer.early_stopping=2", "logger=csv"]
    built = build_callbacks(parse(compose_train(words)), RunFolder(tmp_path), [], [], None, TrainingLogger())
    kept = [one for one in built.all if isinstance(one, EarlyStopping | ModelCheckpoint)]
    (best,) = (one for one in kept if isinstance(one, ModelCheckpoint))
    loader = DataLoader([0.0])  # type: ignore[arg-type]
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=len(scores), callbacks=kept, logger=False, num_sanity_val_steps=0,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Scored(monitor, scores), loader, loader)
    assert torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)["epoch"] == 1
    assert best.best_model_score is not None
    assert best.best_model_score.item() == pytest.approx(scores[1])
    assert trainer.current_epoch == 4, "two validations without improvement end it"


PLAIN = "tissue"
HOSTILE = ["forest_loss", "rand_error_at_val", "größe [red]x", "$x_$", "dataloader_idx_0"]
"""Names by whose beginning, ending or letters something could be guessed."""
MORE_HOSTILE = [
    *("loss", "seg", "v_rand_threshold", "mean_at_val", "val", "a.b", "{x}", "x_epoch", "NA"),
]


@pytest.fixture(scope="module")
def three_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images with masks of the values 0, 1 and 2."""
    root, rng = tmp_path_factory.mktemp("three"), np.random.default_rng(0)
    for number in range(6):
        label = np.zeros((32, 32), np.uint8)
        label[:, 12:] = 1
        label[20:] = 2
        label = np.roll(label, number, 1)
        image = label * 80 + rng.integers(0, 40, label.shape)
        put(root, f"{number}", image.astype(np.uint8)[..., None], label)
    return root


Train = Callable[..., RunFolder]


@pytest.fixture(scope="module")
def train_with(three_classes: Path, tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Trains with a name for the class that it monitors."""

    def run(name: str, rate: float = 0.01, score: str = "iou") -> RunFolder:
        values = deepcopy(
            composed(
                *("data=folder", f"data.images={three_classes}/images", f"data.masks={three_classes}/masks"),
                *("data.classes=[{name: sky, value: 0}, {name: _, value: 1}, {name: soil, value: 2}]", "model=same"),
                *("data.tile=16", "model.depth=2", "model.width=4", "data.tiles_per_epoch=4", "trainer.max_epochs=6"),
                *("scheduler=plateau", "scheduler.patience=0", "scheduler.factor=0.5", "trainer.early_stopping=3"),
                *("trainer.accelerator=cpu", "trainer.precision=32", "logger=csv"),
            )
        )
        values["data"]["classes"][1]["name"] = name
        values["trainer"]["monitor"] = f"val/{score}/{name}"
        values["optimizer"]["lr"] = rate
        return train(parse({**values, "output": str(tmp_path_factory.mktemp("out"))}))

    return run


@pytest.fixture(scope="module")
def plainly_named(train_with: Train) -> RunFolder:
    return train_with(PLAIN)


def learned(folder: RunFolder, name: str) -> dict[str, Any]:
    """All that a training found, with `PLAIN` for the name of its class."""

    def plain_key(key: str) -> str:
        return re.sub(rf"^((?:(?:val|test)/)?(?!(?:train|val|test)/)\w+)/{re.escape(name)}$", rf"\1/{PLAIN}", key)

    def rename(row: dict[str, Any]) -> dict[str, Any]:
        return {plain_key(key): value for key, value in row.items() if key != "seconds"}

    said = summary(folder)
    kept = torch.load(folder.best, weights_only=True)
    return {
        "history": [rename(row) for row in table(folder.metrics)],
        "per image": [rename(row) for row in table(folder.per_image)],
        "metrics": rename(said["metrics"]),
        "best": (plain_key(said["best"]["monitor"]), said["best"]["value"], kept["epoch"]),
        "weights": {key: value.tolist() for key, value in kept["state_dict"].items()},
    }


@pytest.mark.slow
@pytest.mark.usefixtures("draws")
@pytest.mark.parametrize("name", [*HOSTILE, *MORE_HOSTILE])
def test_renaming_a_class_changes_nothing(name: str, train_with: Train, plainly_named: RunFolder) -> None:
    plain = learned(plainly_named, PLAIN)
    scores = [float(row[f"val/iou/{PLAIN}"]) for row in plain["history"]]
    assert len(set(scores)) > 2, "an epoch could be taken for another"
    assert plain["best"] == (f"val/iou/{PLAIN}", pytest.approx(max(scores)), scores.index(max(scores)))
    assert learned(train_with(name), name) == plain


def test_renaming_a_class_changes_no_verdict(train_with: Train, plainly_named: RunFolder) -> None:
    """The words of a comparison of two learning rates, by the score of the class."""

    def compare(name: str, first: RunFolder) -> str:
        slow = train_with(name, 0.0001)
        comparison = compare_runs(*collect([first.path, slow.path]), metric=f"iou/{name}")
        (difference,) = comparison.differences
        return difference.sentence.replace(f"iou/{name}", f"iou/{PLAIN}")

    plain = compare(PLAIN, plainly_named)
    assert "difference -" in plain
    assert "lower is better" not in plain
    assert compare("forest_loss", train_with("forest_loss")) == plain
