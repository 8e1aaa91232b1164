"""An exported network behind the interface of a checkpoint."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from unet_exp.checkpoints.checkpoint import Checkpoint
from unet_exp.checkpoints.metadata import read_metadata
from unet_exp.errors import ConfigError, DataError
from unet_exp.extras import hint_extra
from unet_exp.geometry import AnyArchitecture, output_size
from unet_exp.network import Network

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

SUFFIX = ".onnx"
INPUT, OUTPUT = "image", "logits"
"""Names in the graph: (batch, channels, height, width) float32 each."""


class OnnxNetwork(Network):
    """A network in ONNX Runtime, on the CPU and in float32.

    Args:
        session: of the file.
        architecture: of the exported network.
    """

    keeps_memory = True

    def __init__(self, session: "InferenceSession", architecture: AnyArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        self._session = session
        # Callers send images to the device of the parameters; the session has none.
        self.place = nn.Parameter(torch.empty(0), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Computes logits on the CPU; see `Network`.

        Raises:
            ConfigError: If a size is illegal.
            DataError: If the network does not match its metadata.
            MemoryError: If images of this size do not fit.
        """
        self.check_sizes(x)
        try:
            (logits,) = self._session.run([OUTPUT], {INPUT: x.float().cpu().numpy()})
        except Exception as error:  # ONNX Runtime has no exception class of its own.
            if "alloc" in str(error).lower():
                raise MemoryError(str(error)) from None
            raise DataError(f"ONNX Runtime cannot compute the network: {shorten(str(error), 200)}") from error
        height, width = (output_size(self.architecture, size) for size in x.shape[-2:])
        expected = (x.shape[0], self.architecture.out_channels, height, width)
        if logits.shape != expected:
            raise DataError(
                f"the ONNX file's network gives logits {logits.shape} where the config in it promises {expected}"
            )
        return torch.from_numpy(logits)


@dataclass(frozen=True)
class OnnxCheckpoint(Checkpoint):
    """An exported network with its record; `weights` is empty, they are in the file."""

    # The file holds a user's own network too: its class is not imported.
    imports_network = False

    def network(self) -> Network:
        """Opens the network, for prediction only."""
        return OnnxNetwork(_open_session(self.path), self.architecture()).eval()


def open_onnx(path: Path, trust: Collection[str]) -> OnnxCheckpoint:
    """Opens a file of `scripts/export.py`; see `unet_exp.checkpoints.opening.open_checkpoint`."""
    session = _open_session(path)
    plain = read_metadata(path, session.get_modelmeta().custom_metadata_map)
    try:
        checkpoint = OnnxCheckpoint.read(path, plain, plain.get("step"), {}, trust)
        architecture = checkpoint.architecture()
        ends = [(end.name, end.type, end.shape[1]) for end in (*session.get_inputs(), *session.get_outputs())]
        channels = {INPUT: architecture.in_channels, OUTPUT: architecture.out_channels}
        if ends != [(name, "tensor(float)", count) for name, count in channels.items()]:
            raise ValueError(f"its input and output are {ends}")
    except (LookupError, RecursionError, TypeError, ValueError) as error:
        raise DataError(f"checkpoint={path}: it is damaged ({type(error).__name__}: {error})") from None
    return checkpoint


def _open_session(path: Path) -> "InferenceSession":
    """Opens an ONNX file in ONNX Runtime."""
    try:
        import onnxruntime
    except ImportError:
        raise ConfigError(f"checkpoint={path}: ONNX files need {hint_extra('onnx')}") from None
    try:
        path.open("rb").close()
    except OSError as error:
        raise DataError(f"checkpoint={path}: it cannot be opened ({error.strerror})") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # the exception has its messages too
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception:  # ONNX Runtime has no exception class of its own.
        raise DataError(f"checkpoint={path}: this is no ONNX file, or it is damaged") from None
