"""One validation: whole images are predicted one after another, and scored while the next one is predicted."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unet_exp.config import IGNORE_LABEL, InferenceConfig
from unet_exp.geometry import Activation
from unet_exp.inference.batching import can_batch, fits_batch
from unet_exp.inference.copies import Copies
from unet_exp.inference.counting import count_parts, hand_over_whole
from unet_exp.inference.device import memory_format
from unet_exp.inference.tiling.overlap_tile import Size, mirror_source, tiled_logits
from unet_exp.metrics.findings import take_turns
from unet_exp.metrics.probabilities import Histogram
from unet_exp.metrics.scoreboard import Scoreboard
from unet_exp.network import Network, copy_network, fold_batch_norm, probabilities
from unet_exp.runs.conditions import Layouts


def copy_for_prediction(network: Network, layouts: Layouts) -> Network:
    """A network in eval mode as `unet_exp.inference.predictor` uses it, so that both score alike.

    It is the network itself where that is folded and laid out already, so do not change it.
    """
    folded = fold_batch_norm(network)
    if layouts.prediction != layouts.training:
        folded = copy_network(folded) if folded is network else folded
        convert: Any = folded.to  # PyTorch's stubs lack the memory format
        convert(memory_format=memory_format(layouts.prediction))
    return folded


class _Predicted(NamedTuple):
    """Images of one size whose predictions are on their way to the CPU."""

    items: list[dict[str, Any]]
    copies: Copies
    histograms: list[Histogram | None]


class Turn(NamedTuple):
    """The images of a process that shares a validation: those with the numbers `rank`, `rank + world` and so on.

    Attributes:
        rank: of the process.
        world: how many processes there are.
        gather: gives the values of all processes for that of this one; each of them calls it.
    """

    rank: int
    world: int
    gather: Callable[[Any], list[Any]]


class Validation:
    """Predicts and scores the validation images, once.

    Args:
        network: in eval mode.
        loss: of the training.
        settings: tiles; `auto` is 1024 here, so that the free memory does not decide how a resumed training rounds.
        activation: of the network's logits.
        board: receives the images in their order.
        pictures: of how many images the predicted labels are kept.
        require_finite: is given the loss of each image in which a pixel counts.
        turn: which images it is given, and how it gets the scores of the others; None: it is given all.
    """

    def __init__(
        self,
        network: Network,
        loss: nn.Module,
        settings: InferenceConfig,
        activation: Activation,
        board: Scoreboard,
        pictures: int,
        require_finite: Callable[[Tensor], None],
        turn: Turn | None = None,
    ) -> None:
        self._labels: list[NDArray[np.uint8]] = []
        self._network = network
        self._loss = loss
        self._settings = settings
        self._activation = activation
        self._board = board
        self._pictures = pictures
        self._require_finite = require_finite
        self._turn = turn
        self._seen = 0 if turn is None else turn.rank
        self._batch: list[dict[str, Any]] = []
        self._waiting: _Predicted | None = None

    def add(self, item: dict[str, Any]) -> None:
        """Takes the next image; on a GPU, it is predicted with others of its size and scored while these are.

        Args:
            item: of `unet_exp.training.datamodule.WholeImages`, its tensors on the device.
        """
        sizes, device = [_find_size(other) for other in self._batch], item["image"].device
        if sizes and not fits_batch(sizes, _find_size(item), device, self._settings):
            self._predict()
        self._batch.append(item)
        if not can_batch(device):
            self._predict()
            self._score_waiting()
            self._board.wait()

    def labels(self) -> list[NDArray[np.uint8]]:
        """The predicted labels (H, W) of the first `pictures` images; behind the last `add`, as `finish`."""
        self._end()
        return self._labels

    def finish(self) -> dict[str, float]:
        """The pooled scores, of the images of all processes."""
        self._end()
        return self._board.result()

    def _end(self) -> None:
        """Scores what is left and, once, gets the scores of other processes: those of one process, to the last bit."""
        self._predict()
        self._score_waiting()
        turn, self._turn = self._turn, None
        if turn is not None:
            parts = turn.gather((self._board.findings(), self._labels))
            self._board.replace_findings([findings for findings, _ in parts])
            self._labels = take_turns([labels for _, labels in parts])

    def _predict(self) -> None:
        """Predicts the batch, and scores the one before: a GPU works on this one meanwhile."""
        items, self._batch = self._batch, []
        if not items:
            return
        images, targets = (torch.stack([item[key] for item in items]) for key in ("image", "target"))
        height, width = _find_size(items[0])
        source, count = mirror_source(images), len(items)
        logits = tiled_logits(self._network, source, height, width, self._settings, count).to(images.device)
        classes = probabilities(logits, self._activation)
        weights = [item["weights"][None] if "weights" in item else None for item in items]
        found = {
            "labels": classes.argmax(dim=1).to(torch.uint8),
            "losses": torch.stack(
                [self._loss(logits[n : n + 1], targets[n : n + 1], of_pixels) for n, of_pixels in enumerate(weights)]
            ),
            "counts": (targets != IGNORE_LABEL).flatten(1).any(dim=1),
        }
        taken = hand_over_whole(self._board, (height, width))
        found |= {"probabilities": classes[:, :taken]} if taken else {}
        histograms = [
            count_parts(self._board, item["label"], label, probable)
            for item, label, probable in zip(items, found["labels"], classes, strict=True)
        ]
        predicted = _Predicted(items, Copies(found), histograms)
        self._score_waiting()
        self._waiting = predicted

    def _score_waiting(self) -> None:
        predicted, self._waiting = self._waiting, None
        if predicted is None:
            return
        found = predicted.copies.arrays()
        for place, item in enumerate(predicted.items):
            loss, label = found["losses"][place], found["labels"][place]
            if found["counts"][place]:
                self._require_finite(torch.tensor(loss))
            shares = predicted.histograms[place] or (
                found["probabilities"][place] if "probabilities" in found else None
            )
            self._board.add(item["name"], item["label"], label, float(loss), shares, item.get("instances"))
            if self._seen < self._pictures:
                self._labels.append(label.copy())
            self._seen += 1 if self._turn is None else self._turn.world


def _find_size(item: dict[str, Any]) -> Size:
    height, width = item["label"].shape
    return height, width
