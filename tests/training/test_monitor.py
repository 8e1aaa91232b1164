"""Which epoch a training keeps, and when it stops: the way in which the monitored score is better."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from torch.utils.data import DataLoader

from unet_exp.compose import compose_train
from unet_exp.config import parse
from unet_exp.runs.run_folder import RunFolder
from unet_exp.training.callbacks import build_callbacks
from unet_exp.training.loggers import TrainingLogger

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
