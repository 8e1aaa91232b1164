"""One validation: whole images are predicted one after another, and scored while the next one is predicted."""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unet_exp.config import IGNORE_LABEL, InferenceConfig
from unet_exp.geometry import Activation
from unet_exp.inference.copies import Copies
from unet_exp.inference.device import memory_format
from unet_exp.inference.tiling.overlap_tile import mirror_source, tiled_logits
from unet_exp.metrics.scoreboard import Scoreboard
from unet_exp.network import Network, fold_batch_norm, probabilities
from unet_exp.runs.conditions import Layouts


def copy_for_prediction(network: Network, layouts: Layouts) -> Network:
    """A network in eval mode as `unet_exp.inference.predictor` uses it, so that both score alike.

    It is the network itself where that is folded and laid out already, so do not change it.
    """
    folded = fold_batch_norm(network)
    if layouts.prediction != layouts.training:
        folded = copy.deepcopy(folded) if folded is network else folded
        convert: Any = folded.to  # PyTorch's stubs lack the memory format
        convert(memory_format=memory_format(layouts.prediction))
    return folded


class _Predicted(NamedTuple):
    """An image whose prediction is on its way to the CPU; `truth` and `instances` (H, W)."""

    name: str
    truth: NDArray[np.uint8]
    instances: NDArray[np.int32] | None
    number: int
    copies: Copies


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
    ) -> None:
        self._labels: list[NDArray[np.uint8]] = []
        self._network = network
        self._loss = loss
        self._settings = settings
        self._activation = activation
        self._board = board
        self._pictures = pictures
        self._require_finite = require_finite
        self._waiting: _Predicted | None = None

    def add(self, item: dict[str, Any], number: int) -> None:
        """Predicts an image, and scores the one before: a GPU works on this one meanwhile.

        Args:
            item: of `unet_exp.training.datamodule.WholeImages`, its tensors on the device.
            number: of the image, from 0.
        """
        source, device = mirror_source(item["image"][None]), item["image"].device
        weights = item["weights"][None] if "weights" in item else None
        height, width = item["label"].shape
        logits = tiled_logits(self._network, source, height, width, self._settings).to(device)
        classes = probabilities(logits, self._activation)[0]
        found = {
            "label": classes.argmax(dim=0).to(torch.uint8),
            "loss": self._loss(logits, item["target"][None], weights),
            "counts": (item["target"] != IGNORE_LABEL).any(),
        }
        found |= {"probabilities": classes[:1]} if self._board.takes_probabilities else {}
        predicted = _Predicted(item["name"], item["label"], item.get("instances"), number, Copies(found))
        self._score_waiting()
        self._waiting = predicted
        if device.type == "cpu":
            self._score_waiting()
            self._board.wait()  # the next image takes all cores

    def labels(self) -> list[NDArray[np.uint8]]:
        """The predicted labels (H, W) of the first `pictures` images."""
        self._score_waiting()
        return self._labels

    def finish(self) -> dict[str, float]:
        """The pooled scores."""
        self._score_waiting()
        return self._board.result()

    def _score_waiting(self) -> None:
        image, self._waiting = self._waiting, None
        if image is None:
            return
        found = image.copies.arrays()
        if found["counts"]:
            self._require_finite(torch.from_numpy(found["loss"]))
        label, loss = found["label"], float(found["loss"])
        self._board.add(image.name, image.truth, label, loss, found.get("probabilities"), image.instances)
        if image.number < self._pictures:
            self._labels.append(label)
