"""Steps of trainings, each timed by its optimizer: of this framework, of a plain Lightning Trainer, of a plain loop."""

import contextlib
import io
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.data import DataLoader

from benchmarks.pairs import Timed
from benchmarks.settings import Benchmark
from unet_exp.config import Config
from unet_exp.console import quieten


class _EnoughError(Exception):
    """Ends a training from within."""


@dataclass
class Recipe:
    """One training, in all ways.

    Attributes:
        task: the keys of the benchmark.
        words: of `scripts/train.py`; data without augmentation, and cross-entropy, so that a plain loop does the same.
        steps: that are measured.
        warm: steps before them.
    """

    task: Benchmark
    words: list[str]
    steps: int
    warm: int = 1

    def __post_init__(self) -> None:
        from unet_exp.cli.command import read_command

        plain = ["augmentation=none", "loss=cross_entropy", "loss.class_weights=null", "data.num_workers=0"]
        endless = ["trainer.max_epochs=null", "trainer.max_steps=1000000000", "scheduler=none"]
        few = ["data.train_images=4", "data.val_images=1", "data.test_images=1", "trainer.val_every_epochs=1000000"]
        self.words = [*self.words, *plain, *endless, *few, *self.task.words]
        config = read_command(self.words)
        assert isinstance(config, Config)
        self.config = config

    def train(self, *words: str) -> Timed:
        """Steps of `unet_exp.training.run.train`."""
        from unet_exp.cli.command import read_command
        from unet_exp.training.run import train

        with tempfile.TemporaryDirectory() as place, contextlib.redirect_stdout(io.StringIO()):
            typed = [*self.words, *words, f"output={place}"]
            config = read_command(typed)
            assert isinstance(config, Config)
            return self._time(lambda: train(config, typed))

    def fit_plainly(self) -> Timed:
        """Steps of a Lightning Trainer without logger, bar and checkpoints."""
        import pytorch_lightning as pl

        network, batch, optimizer = self._build(torch.contiguous_format)

        class Plain(pl.LightningModule):
            def __init__(self) -> None:
                super().__init__()
                self.network = network

            def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
                del index
                return nn.functional.cross_entropy(self.network(batch[0]), batch[1])

            def configure_optimizers(self) -> torch.optim.Optimizer:
                return optimizer

        with quieten("pytorch_lightning"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer = pl.Trainer(
                accelerator=self.task.accelerator, devices=1, precision=self._lightning_precision(), logger=False,
                enable_progress_bar=False, enable_checkpointing=False, enable_model_summary=False, max_epochs=-1,
            )  # fmt: skip
            batches: Any = DataLoader([batch] * 100, batch_size=None)  # type: ignore[arg-type]
            return self._time(lambda: trainer.fit(Plain(), batches))

    def _lightning_precision(self) -> Any:
        return "32-true" if str(self.task.precision) == "32" else self.task.precision

    def loop(self, layout: torch.memory_format, network: nn.Module | None = None) -> Timed:
        """Steps of a plain loop.

        Args:
            layout: of the network and the batch.
            network: None for the one of the config.
        """
        network, batch, optimizer = self._build(layout, network)
        mixed, device = str(self.task.precision) != "32", batch[0].device

        def train() -> None:
            while True:
                optimizer.zero_grad()
                with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
                    loss = nn.functional.cross_entropy(network(batch[0]), batch[1])
                torch.autograd.backward(loss)
                optimizer.step()

        return self._time(train)

    def _build(
        self, layout: torch.memory_format, network: nn.Module | None = None
    ) -> tuple[nn.Module, tuple[Tensor, Tensor], torch.optim.Optimizer]:
        """A network (1 channel, 2 classes), a batch (B, 1, H, W) with labels (B, H', W'), and its optimizer."""
        from unet_exp.network import build
        from unet_exp.training.schedule import build_optimizer

        device = torch.device({"gpu": "cuda"}.get(self.task.accelerator, self.task.accelerator))
        convert: Any = (network or build(self.config, 1, 2)).train().to(device).to
        network = convert(memory_format=layout)
        assert network is not None
        batch, size = self.config.data.batch_size, self.input_size
        images: Any = torch.randn(batch, 1, size, size, device=device)
        with torch.no_grad():
            labels = torch.randint(2, (batch, *network(images).shape[2:]), device=device)
        optimizer: Any = build_optimizer(self.config.optimizer, network.parameters())
        return network, (images.to(memory_format=layout), labels), optimizer

    @property
    def input_size(self) -> int:
        """Side of the network's input, pixels, whose output covers the label."""
        from unet_exp.geometry import input_for_output
        from unet_exp.network import build

        with torch.device("meta"):
            return input_for_output(build(self.config, 1, 2).architecture, self.config.data.tile)

    def _time(self, run: Callable[[], object]) -> Timed:
        """Runs until enough steps were made: the mean of their seconds, the first ones left out."""
        times: list[float] = []

        def hook(*_: object) -> None:
            if len(times) in (self.warm - 1, self.warm + self.steps - 1) and self.task.accelerator == "gpu":
                torch.cuda.synchronize()
            times.append(time.perf_counter())
            if len(times) == self.warm + self.steps:
                raise _EnoughError

        handle = register_optimizer_step_post_hook(hook)
        try:
            with contextlib.suppress(_EnoughError):
                run()
        finally:
            handle.remove()
        return Timed((times[-1] - times[self.warm - 1]) / self.steps)


def count_macs(network: nn.Module, size: int) -> int:
    """Multiply-accumulates of one image (1, 1, size, size)."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.to("meta")(torch.empty(1, 1, size, size, device="meta"))
    return int(counter.get_total_flops()) // 2
