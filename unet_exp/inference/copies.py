"""What is predicted on a GPU comes to the CPU while the GPU goes on."""

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor


class Copies:
    """Copies of tensors on the CPU, begun at once and waited for when they are asked for.

    Ask for those of an image after the next one has been given to the network: then a GPU never waits for the CPU.
    """

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        # On other devices than CUDA's nothing says when a copy in the background has ended.
        self._copies = {name: tensor.to("cpu", non_blocking=tensor.is_cuda) for name, tensor in tensors.items()}
        devices = {tensor.device for tensor in tensors.values() if tensor.is_cuda}
        self._done = [torch.cuda.current_stream(device).record_event() for device in devices]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The copies by name."""
        for event in self._done:
            event.synchronize()
        return {name: copy.numpy() for name, copy in self._copies.items()}
