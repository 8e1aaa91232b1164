"""Export of a trained network to ONNX, with a comparison of ONNX Runtime and PyTorch."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from textwrap import shorten

import torch
from torch import Tensor
from torch.export import Dim

from unet_exp.checkpoints.checkpoint import Checkpoint
from unet_exp.checkpoints.metadata import write_metadata
from unet_exp.checkpoints.onnx_model import INPUT, OUTPUT, open_onnx
from unet_exp.config.own_classes import list_targets
from unet_exp.errors import DataError
from unet_exp.geometry import legal_sizes
from unet_exp.network import Network

TOLERANCE = 1e-4
"""Largest difference of a logit by rounding, as a part of the largest logit where that is above 1."""
_LARGEST = 2**31
"""Most bytes of one ONNX file."""


def export_to_onnx(checkpoint: Checkpoint, path: Path, opset: int) -> dict[tuple[int, ...], float]:
    """Writes the network to `path`, and compares the logits of ONNX Runtime with those of PyTorch.

    Returns:
        The largest absolute difference of a logit for each tested shape (batch, channels, height, width).

    Raises:
        DataError: if one is above `TOLERANCE`, the network is too large for one file, or it cannot be exported.
    """
    network = checkpoint.network()
    if sum(value.nbytes for value in network.state_dict().values()) >= _LARGEST:
        raise DataError(f"checkpoint={checkpoint.path}: its network has 2 GB or more, too much for one ONNX file")
    stride = max(1, 17 // network.architecture.sizes.step)  # where any size is legal, take sizes further apart
    sizes = list(islice(legal_sizes(network.architecture), 0, 8 * stride, stride))
    generator = torch.Generator().manual_seed(0)

    def image(*shape: int) -> Tensor:
        return torch.randn(shape[0], checkpoint.record.channels, *shape[1:], generator=generator)

    with torch.inference_mode():
        if not network(image(1, sizes[0], sizes[0])).isfinite().all():
            raise DataError(
                f"checkpoint={checkpoint.path}: its network gives nan or infinity: export one that does not"
            )
    # Height and width differ and no bottleneck is a single pixel: the exporter would make constants of these.
    try:
        _write(network, image(2, sizes[5], sizes[6]), path, opset, write_metadata(checkpoint))
    except torch.onnx.OnnxExporterError as error:
        raise DataError(
            f"checkpoint={checkpoint.path}: PyTorch cannot export its network with free sizes: {_explain(error)}"
        ) from error
    written = open_onnx(path, list_targets(checkpoint.record.config, "predict").values()).network()
    small, large = (1, sizes[0], sizes[0]), (1, sizes[7], sizes[7])
    oblong = (1, sizes[1], sizes[4]), (3, sizes[2], sizes[1]), (2, sizes[7], sizes[3])
    images = [image(*shape) for shape in (small, *oblong, large)]
    try:
        return {tuple(pixels.shape): _compare(network, written, pixels) for pixels in images}
    except DataError as error:
        raise DataError(f"checkpoint={checkpoint.path}: {error}; nothing was written; try another opset") from error


def _compare(network: Network, written: Network, pixels: Tensor) -> float:
    """The largest absolute difference of a logit.

    Raises:
        DataError: if it is above `TOLERANCE`, or `written` fails.
    """
    shape = " x ".join(map(str, pixels.shape))
    with torch.inference_mode():
        expected = network(pixels)
        try:
            given = written(pixels)
        except (DataError, MemoryError) as error:
            raise DataError(f"on {shape} the exported network fails: {shorten(str(error), 200)}") from error
    difference = float((expected - given).abs().max())
    if not difference <= TOLERANCE * max(1.0, float(expected.abs().max())):
        raise DataError(f"on {shape} ONNX Runtime's logits are off by {difference:.1e}")
    return difference


def _write(network: Network, example: Tensor, path: Path, opset: int, metadata: dict[str, str]) -> None:
    """Traces the network on an example, whose batch, height and width stay free, and writes it."""
    free = {0: Dim.AUTO, 2: Dim.AUTO, 3: Dim.AUTO}
    with _silence():
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            dynamic_shapes=(free,),
            opset_version=opset,
            input_names=[INPUT],
            output_names=[OUTPUT],
            verbose=False,
        )
        assert program is not None
        for node in program.model.graph.all_nodes():  # it holds folders of this machine
            node.metadata_props.pop("pkg.torch.onnx.stack_trace", None)
        program.model.metadata_props.update(metadata)
        program.save(path)


def _explain(error: BaseException) -> str:
    """The first line of the cause inside the exporter's long errors."""
    while error.__cause__ is not None:
        error = error.__cause__
    return shorten(f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}", 200)


@contextmanager
def _silence() -> Iterator[None]:
    """Silences the exporter's warnings of operators that no U-Net has."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
