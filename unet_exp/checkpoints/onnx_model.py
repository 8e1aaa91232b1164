"""An exported network, opened as a checkpoint is: what predicts with the one predicts with the other."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from unet_exp.checkpoints.checkpoint import KEY, Checkpoint, describe, open_checkpoint
from unet_exp.errors import ConfigError, DataError
from unet_exp.geometry import AnyArchitecture, output_size
from unet_exp.network import Network

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

SUFFIX = ".onnx"
INPUT, OUTPUT = "image", "logits"
"""Names in the graph: (batch, channels, height, width) float32 each."""


class OnnxNetwork(Network):
    """A network that ONNX Runtime computes, on the CPU and in float32.

    Args:
        session: of the file.
        architecture: of the network that was exported.
    """

    def __init__(self, session: "InferenceSession", architecture: AnyArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        self._session = session
        # Callers send images to the device of the parameters, and here they are none.
        self.place = nn.Parameter(torch.empty(0), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits on the CPU; see `Network`.

        Raises:
            ConfigError: If a size is illegal.
            DataError: If the file holds another network than it says.
            MemoryError: If there is too little for images of this size.
        """
        self.check_sizes(x)
        try:
            (logits,) = self._session.run([OUTPUT], {INPUT: x.float().cpu().numpy()})
        except Exception as error:  # ONNX Runtime's have no common class of their own.
            if "alloc" in str(error).lower():
                raise MemoryError(str(error)) from None
            raise DataError(f"ONNX Runtime cannot compute the network: {shorten(str(error), 200)}") from error
        height, width = (output_size(self.architecture, size) for size in x.shape[-2:])
        promised = (x.shape[0], self.architecture.out_channels, height, width)
        if logits.shape != promised:
            raise DataError(
                f"the ONNX file's network gives logits {logits.shape} where the config in it promises {promised}"
            )
        return torch.from_numpy(logits)


@dataclass(frozen=True)
class OnnxCheckpoint(Checkpoint):
    """What an exported network knows of its training; `weights` is empty, they are in the file."""

    # A user's own network is in the file too: its class is not imported, its name says nothing but where it came from.
    imports = ("loss",)

    def network(self) -> Network:
        """The network, for prediction alone."""
        architecture = self.parsed().architecture(self.channels, len(self.classes))
        return OnnxNetwork(_session(self.path), architecture).eval()


def metadata(checkpoint: Checkpoint) -> dict[str, str]:
    """What an ONNX file says of its network, each a JSON text under `unet_exp.<name>`.

    Returns:
        All that `describe` keeps in a checkpoint, and `step`; and for programs that know nothing of this project
        `activation`, which makes probabilities of logits, and `sizes`: legal heights and widths in pixels are
        `smallest`, `smallest` + `step` and so on, and the logits lack `context` pixels on each side.
    """
    config = checkpoint.parsed()
    sizes = config.architecture(checkpoint.channels, len(checkpoint.classes)).sizes
    known = describe(
        checkpoint.config,
        [spec.model_dump() for spec in checkpoint.classes],
        checkpoint.normalization.as_plain(),
        checkpoint.channels,
        checkpoint.class_weights,
        sorted(checkpoint.trained_on),
    )
    known |= {
        "step": checkpoint.step,
        "activation": config.activation,
        "sizes": {"smallest": sizes.smallest, "step": sizes.step, "context": sizes.context},
    }
    return {f"{KEY}.{name}": json.dumps(value) for name, value in known.items()}


def open_model(path: str | Path, trust: Collection[str] = ()) -> Checkpoint:
    """Opens a checkpoint, or a network that `scripts/export.py` wrote.

    Args:
        path: a checkpoint, a run's folder or a file that ends in .onnx.
        trust: see `unet_exp.checkpoints.checkpoint.open_checkpoint`.

    Raises:
        ConfigError: if it is an ONNX file and ONNX Runtime is not installed.
        DataError: if it is missing, or nothing that this project wrote; see also `open_checkpoint`.
    """
    path = Path(path)
    if path.suffix.lower() != SUFFIX or path.is_dir():
        return open_checkpoint(path, trust)
    session = _session(path)
    texts = session.get_modelmeta().custom_metadata_map
    try:
        own = {name.removeprefix(f"{KEY}."): text for name, text in texts.items() if name.startswith(f"{KEY}.")}
        known = {name: json.loads(text) for name, text in own.items()}
        if "format" not in known:
            raise DataError(f"checkpoint={path}: this network was not exported by unet_exp; use scripts/export.py")
        checkpoint = OnnxCheckpoint.described(path, known, trust, weights={})
        architecture = checkpoint.parsed().architecture(checkpoint.channels, len(checkpoint.classes))
        ends = [(end.name, end.type, end.shape[1]) for end in (*session.get_inputs(), *session.get_outputs())]
        channels = {INPUT: architecture.in_channels, OUTPUT: architecture.out_channels}
        if ends != [(name, "tensor(float)", count) for name, count in channels.items()]:
            raise ValueError(f"its input and output are {ends}")
    except (LookupError, RecursionError, TypeError, ValueError) as error:
        raise DataError(f"checkpoint={path}: it is damaged ({type(error).__name__}: {error})") from None
    return checkpoint


def _session(path: Path) -> "InferenceSession":
    """The network of an ONNX file, ready to compute."""
    try:
        import onnxruntime
    except ImportError:
        raise ConfigError(f"checkpoint={path}: ONNX files need pip install 'unet-exp[onnx]'") from None
    try:
        path.open("rb").close()
    except OSError as error:
        raise DataError(f"checkpoint={path}: it cannot be opened ({error.strerror})") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # what it says is in the exception too
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception:  # ONNX Runtime's have no common class of their own.
        raise DataError(f"checkpoint={path}: this is no ONNX file, or it is damaged") from None
