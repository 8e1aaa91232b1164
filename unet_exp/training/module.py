"""The LightningModule: one network, one loss, one optimizer, and scores of whole images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import Optimizer

from unet_exp import losses, network
from unet_exp.checkpoints.reading import EPOCH_LOSSES
from unet_exp.checkpoints.record import KEY, CheckpointRecord
from unet_exp.config import Config, parse
from unet_exp.config.model import EncoderModelConfig
from unet_exp.errors import TrainingError
from unet_exp.geometry import output_borders
from unet_exp.inference.device import memory_format
from unet_exp.metrics.declarations import ScoreFamily, direction
from unet_exp.metrics.findings import take_turns
from unet_exp.metrics.own import OwnMetric
from unet_exp.metrics.scoreboard import Scoreboard
from unet_exp.metrics.surfaces import Scale
from unet_exp.network import center_crop
from unet_exp.runs.conditions import Layouts
from unet_exp.training.epoch_losses import EpochLosses, mean_loss, not_finite
from unet_exp.training.group import gather
from unet_exp.training.schedule import build_optimizer, build_schedulers
from unet_exp.training.step_mean import StepMean
from unet_exp.training.trial import find_odd
from unet_exp.training.validation import Turn, Validation, copy_for_prediction


class SegmentationModule(pl.LightningModule):
    """Trains a network. Its hyperparameters are plain values, so that its checkpoints open with `weights_only=True`.

    Args:
        record: a plain `CheckpointRecord`.
        horizon: optimizer steps of the whole training, for the schedule.
        config: the config in the record, already checked; None checks it.
        layouts: of the memory; None: contiguous.

    Attributes:
        families: scores of a validation beyond those of the classes, see `unet_exp.metrics.scoreboard.Scoreboard`.
        scale: of its distances.
        own_metrics: scores of the user's own, likewise.
        pictures: of how many validation images it keeps the predicted labels.
        scores: of the last validation, in full precision (Lightning keeps them as float32).
        losses: of the training batches of the epoch.
        rate: the learning rate of the step in progress.
    """

    def __init__(
        self, record: dict[str, Any], horizon: int, config: Config | None = None, layouts: Layouts | None = None
    ) -> None:
        super().__init__()
        # The loggers already have the config.
        self.save_hyperparameters("record", "horizon", logger=False)
        self.record = CheckpointRecord.model_validate(record)
        self.config = parse(self.record.config) if config is None else config
        self.classes = self.record.classes
        self.network = network.build(self.config, self.record.channels, len(self.classes))
        self.loss = losses.build(self.config.loss, self.record.class_weights)
        self.families: tuple[ScoreFamily, ...] = ()
        self.scale = Scale()
        self.own_metrics: Sequence[OwnMetric] = ()
        self.pictures = 0
        self.scores: dict[str, float] = {}
        self._validation: Validation | None = None
        self._picture_labels: list[NDArray[np.uint8]] = []
        self._horizon = horizon
        self.layouts = layouts or Layouts(training="contiguous", prediction="contiguous")
        self._layout = memory_format(self.layouts.training)
        self.losses = EpochLosses()
        self.rate = 0.0
        self._step_mean = StepMean()
        convert: Any = self.network.to  # PyTorch's stubs lack the memory format
        convert(memory_format=self._layout)
        if self.config.trainer.compile:
            self.network.compile()

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Logits of images of a legal size: (B, C, H, W) to (B, out, H', W'); see `unet_exp.network.UNet`."""
        logits: Tensor | tuple[Tensor, ...] = self.network(images.contiguous(memory_format=self._layout))
        return logits

    def on_train_start(self) -> None:
        """Learns how many batches share an optimizer step; each process draws its own dropout."""
        self._step_mean = StepMean(self.config.trainer.accumulate * self.trainer.world_size)
        if rank := self.trainer.global_rank:  # Lightning seeds all alike
            torch.manual_seed(int(np.random.SeedSequence([self.config.seed, rank]).generate_state(1)[0]))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Remembers the learning rate, which the schedule has changed when the step ends; sets that of an encoder."""
        del batch, batch_idx
        groups = self.trainer.optimizers[0].param_groups
        self.rate = groups[0]["lr"]
        if isinstance(self.config.model, EncoderModelConfig):
            assert isinstance(self.network, network.EncoderNetwork)
            factor = self.config.model.encoder_rate(self.current_epoch)
            self.network.freeze(not factor)
            groups[1]["lr"] = factor * self.rate

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Tensor:
        """The loss of a batch of patches, which nobody looks at here: that would wait for the device.

        A batch in which no pixel counts has no loss: it moves neither the weights nor the mean of the epoch.

        Args:
            batch: `image` (B, C, S, S), `label` and perhaps `weights` (B, T, T), and the number `patches` of the
                patches on which a pixel counts.
            batch_index: of the epoch.
        """
        tile, patches = self.config.data.tile, batch["patches"]
        given = self(batch["image"])
        outputs = given if isinstance(given, tuple) else (given,)
        weights = center_crop(batch["weights"], tile) if "weights" in batch else None
        label = center_crop(batch["label"], tile)
        if batch_index % self.config.trainer.accumulate == 0:
            self._step_mean.begin(len(label))
        factor = self._step_mean.weigh(patches)
        if not patches:
            # Processes that share a step wait for a gradient of each.
            return 0 * torch.stack([logits.sum() for logits in outputs]).sum()
        before = (batch["image"].shape[-1] - tile) // 2
        borders, shares = output_borders(self.network.architecture), self.config.level_weights
        loss = losses.supervise(self.loss, outputs, borders, shares, label, weights, before)
        self.losses.add(loss, self.global_step, self.rate)
        return loss if factor == 1 else loss * factor

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Makes the gradient the mean over the patches of the step; Lightning clips it after that."""
        patches = self._step_mean.patches
        if self.trainer.world_size > 1:
            together = torch.tensor(patches)  # on the CPU: to ask a GPU would wait for it
            torch.distributed.all_reduce(together)
            patches = int(together)
        self._step_mean.finish((weight for group in optimizer.param_groups for weight in group["params"]), patches)

    def on_train_epoch_end(self) -> None:
        """Logs the epoch's mean loss. Lightning's own mean would be lost on resume."""
        self.log("train/loss", self.mean_loss())
        self.losses.start()

    def mean_loss(self) -> float:
        """The mean training loss of the epoch so far, of all processes, which all have to call it; nan without any."""
        if self.trainer.world_size == 1:
            return self.losses.mean()
        return mean_loss(take_turns(gather(self.losses.all())))

    def on_validation_start(self) -> None:
        """No validation of weights that a loss has spoilt."""
        self.losses.look()

    def _require_finite(self, loss: Tensor, what: str) -> None:
        if not torch.isfinite(loss):
            raise not_finite(f"the {what} is {loss.item()}", self.global_step, self.rate)

    def on_validation_epoch_start(self) -> None:
        """Begins the scores; EMA has replaced the weights by now."""
        shared = self.trainer.world_size > 1
        if shared:
            # The norms of each process have seen other batches; a checkpoint has those of the first.
            for buffer in self.buffers():
                torch.distributed.broadcast(buffer, src=0)
        # Not a network as an attribute: Lightning would save it, and EMA swap its weights.
        self._validation = Validation(
            copy_for_prediction(self.network, self.layouts),
            self.loss,
            self.config.inference,
            self.config.activation,
            Scoreboard([spec.name for spec in self.classes], self.families, scale=self.scale, own=self.own_metrics),
            self.pictures,
            lambda loss: self._require_finite(loss, "validation loss"),
            Turn(self.trainer.global_rank, self.trainer.world_size, gather) if shared else None,
        )

    def validation_step(self, batch: dict[str, Any], batch_index: int) -> None:
        """Takes one whole image, an item of `unet_exp.training.datamodule.WholeImages`; an empty one is none."""
        del batch_index
        assert self._validation is not None
        if batch:
            self._validation.add(batch)

    @property
    def picture_labels(self) -> list[NDArray[np.uint8]]:
        """The predicted labels of the pictured images, (H, W) each, of the validation that runs or of the last one."""
        return self._picture_labels if self._validation is None else self._validation.labels()

    def on_validation_epoch_end(self) -> None:
        """Logs the pooled scores as `val/...`."""
        assert self._validation is not None
        self.scores = {f"val/{name}": value for name, value in self._validation.finish().items()}
        self._picture_labels = self._validation.labels()
        self._validation = None
        # Lightning refuses names that hold the word by which it tells loaders apart; a class may have it.
        self.log_dict(self.scores, add_dataloader_idx=False)

    def configure_optimizers(self) -> Any:
        """Builds the optimizer and its schedule."""
        optimizer = build_optimizer(self.config.optimizer, self.network.parameter_groups())
        trainer = self.config.trainer
        mode = direction(trainer.monitor, self.config.metrics.own)
        schedulers = build_schedulers(self.config.scheduler, trainer, optimizer, self._horizon, mode)
        return [optimizer], schedulers

    def on_save_checkpoint(self, content: dict[str, Any]) -> None:
        """Adds what `unet_exp.checkpoints.opening` needs to open it without Lightning.

        Raises:
            TrainingError: if a loss or a weight is not finite; then nothing is written.
        """
        content[KEY] = self.record.model_dump()
        known = self.losses.all()
        content[EPOCH_LOSSES] = known if self.trainer.world_size == 1 else gather(known)
        trained = [weight.isfinite().all() for weight in self.network.parameters() if weight.requires_grad]
        if trained and not torch.stack(trained).all():
            raise not_finite("some weights are not finite", self.global_step, self.rate)
        for kind in ("callbacks", "optimizer_states", "lr_schedulers"):
            if odd := find_odd(content.get(kind)):
                raise TrainingError(
                    f"the state of {kind} holds a {odd}, which a checkpoint cannot give back: state_dict may hold "
                    "numbers, texts, tensors, lists and dicts alone"
                )

    def on_load_checkpoint(self, content: dict[str, Any]) -> None:
        """Restores the losses of the interrupted epoch."""
        known = content[EPOCH_LOSSES]
        # Of several processes a list of each, but for earlier versions, which kept those of the first.
        shared = bool(known) and isinstance(known[0], list)
        self.losses.start(known[self.trainer.global_rank if self._trainer else 0] if shared else known)
