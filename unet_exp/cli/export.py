"""A trained network as an ONNX file, which other programs and languages run."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from unet_exp.cli.entry import run_with_own_keys
from unet_exp.errors import ConfigError, DataError
from unet_exp.files import replacing
from unet_exp.schema import Strict, validate

if TYPE_CHECKING:
    from torch import Tensor

    from unet_exp.checkpoints.checkpoint import Checkpoint
    from unet_exp.network import Network

USAGE = """Export a trained network to ONNX.

Usage: python scripts/export.py checkpoint=<file or run folder> [key=value] ...

  checkpoint  the file, or a run's folder (its best.ckpt)
  output      the file to write (model.onnx); one of the same name is replaced
  opset       version of ONNX's operators, 17 to 25 (18)
  trust       packages whose classes the checkpoint may name ([]): docs/extend.md

The file holds the network alone: a normalised image, (batch, channels, height, width) float32 of any legal size, gives
logits. Classes, normalisation, legal sizes and the training's config are in its metadata, as JSON texts under
unet_exp.<name>. Before it is written, ONNX Runtime and the network are compared on images of several sizes.
scripts/predict.py and unet_exp.load() take it as they take a checkpoint. It needs pip install 'unet-exp[onnx]'.

Examples:
  python scripts/export.py checkpoint=outputs/train/<run>
  python scripts/export.py checkpoint=best.ckpt output=exported/cells.onnx opset=20
"""


class Export(Strict):
    """The entry point's own keys."""

    checkpoint: str
    output: str
    opset: Annotated[int, Field(ge=17, le=25)]
    trust: list[str]


DEFAULTS: dict[str, Any] = {"checkpoint": "", "output": "model.onnx", "opset": 18, "trust": []}
TOLERANCE = 1e-4
"""Largest difference of a logit that is taken for rounding, as a part of the largest logit where that is above 1."""
_LARGEST = 2**31
"""Bytes that one ONNX file can hold."""


def export(values: dict[str, Any]) -> Path:
    """Writes a checkpoint's network as ONNX, checked against the network.

    Args:
        values: the keys of `Export`, plain.

    Returns:
        The file.

    Raises:
        UserError: for what can be mended, and where ONNX Runtime gives other logits than the network; then no file is
            written.
    """
    task = validate(Export, values)
    output = Path(task.output)
    if not task.checkpoint:
        raise ConfigError("checkpoint=<file> is missing, such as outputs/train/<run>/checkpoints/best.ckpt")
    if output.suffix != ".onnx" or _is_folder(output):
        raise ConfigError(f"output={output}: must be a file whose name ends in .onnx")
    if task.checkpoint.lower().endswith(".onnx") and not _is_folder(Path(task.checkpoint)):
        raise ConfigError(f"checkpoint={task.checkpoint}: is an exported network already; name the checkpoint it is of")
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"{error.name} is missing: pip install 'unet-exp[onnx]'") from None

    from rich.console import Console

    from unet_exp.checkpoints.checkpoint import open_checkpoint

    checkpoint = open_checkpoint(task.checkpoint, task.trust)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"output={output}: its folder cannot be made ({error.strerror}); choose another") from None
    with replacing(output) as side:
        differences = write_checked(checkpoint, side, task.opset)
    console = Console(highlight=False)
    for shape, difference in differences.items():
        console.print(f"{' x '.join(map(str, shape))}: largest difference {difference:.1e}")
    console.print(f"opset {task.opset}; ONNX Runtime and the network agree within {max(differences.values()):.1e}")
    console.print(str(output), style="bold", soft_wrap=True)
    return output


def write_checked(checkpoint: "Checkpoint", path: Path, opset: int) -> dict[tuple[int, ...], float]:
    """Writes the network to `path`, and compares what ONNX Runtime makes of it with what PyTorch does.

    Args:
        checkpoint: opened.
        path: the file to write.
        opset: version of ONNX's operators.

    Returns:
        The largest absolute difference of a logit for each shape (batch, channels, height, width) that was tried.

    Raises:
        DataError: if one is above `TOLERANCE`, the network is too large for one file, or it cannot be exported.
    """
    import torch

    from unet_exp.checkpoints.checkpoint import custom_targets
    from unet_exp.checkpoints.onnx_model import metadata, open_model
    from unet_exp.geometry import legal_sizes

    network = checkpoint.network()
    if sum(value.nbytes for value in network.state_dict().values()) >= _LARGEST:
        raise DataError(f"checkpoint={checkpoint.path}: its network has 2 GB or more, too much for one ONNX file")
    stride = max(1, 17 // network.architecture.sizes.step)  # where any size is legal, some that lie further apart
    sizes = list(islice(legal_sizes(network.architecture), 0, 8 * stride, stride))
    generator = torch.Generator().manual_seed(0)

    def image(*shape: int) -> "Tensor":
        return torch.randn(shape[0], checkpoint.channels, *shape[1:], generator=generator)

    with torch.inference_mode():
        if not network(image(1, sizes[0], sizes[0])).isfinite().all():
            raise DataError(
                f"checkpoint={checkpoint.path}: its network gives nan or infinity: export one that does not"
            )
    # Height and width differ and neither bottom is a single pixel: the exporter takes such sizes for rules.
    try:
        _write(network, image(2, sizes[5], sizes[6]), path, opset, metadata(checkpoint))
    except torch.onnx.OnnxExporterError as error:
        raise DataError(
            f"checkpoint={checkpoint.path}: PyTorch cannot export its network with free sizes: {_cause(error)}"
        ) from error
    written = open_model(path, custom_targets(checkpoint.config).values()).network()
    differences = {}
    for shape in (
        (1, sizes[0], sizes[0]),
        (1, sizes[1], sizes[4]),
        (3, sizes[2], sizes[1]),
        (2, sizes[7], sizes[3]),
        (1, sizes[7], sizes[7]),
    ):
        pixels = image(*shape)
        with torch.inference_mode():
            expected = network(pixels)
            try:
                given = written(pixels)
            except (DataError, MemoryError) as error:
                raise DataError(
                    f"checkpoint={checkpoint.path}: on {_shown(pixels)} the exported network fails: "
                    f"{shorten(str(error), 200)}; nothing was written; try another opset"
                ) from error
        difference = float((expected - given).abs().max())
        if not difference <= TOLERANCE * max(1.0, float(expected.abs().max())):
            raise DataError(
                f"checkpoint={checkpoint.path}: on {_shown(pixels)} ONNX Runtime's logits are off by {difference:.1e}; "
                "nothing was written; try another opset"
            )
        differences[tuple(pixels.shape)] = difference
    return differences


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:
        raise ConfigError(f"{path}: this path cannot be used ({error.strerror})") from None


def _write(network: "Network", example: "Tensor", path: Path, opset: int, metadata: dict[str, str]) -> None:
    """Traces the network on an example, whose batch, height and width stay free, and writes it."""
    import torch
    from torch.export import Dim

    from unet_exp.checkpoints.onnx_model import INPUT, OUTPUT

    free = {0: Dim.AUTO, 2: Dim.AUTO, 3: Dim.AUTO}
    with _quiet():
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
        for node in program.model.graph.all_nodes():  # lines of code, with the folders of this machine
            node.metadata_props.pop("pkg.torch.onnx.stack_trace", None)
        program.model.metadata_props.update(metadata)
        program.save(path)


def _shown(pixels: "Tensor") -> str:
    return " x ".join(map(str, pixels.shape))


def _cause(error: BaseException) -> str:
    """The exporter wraps what went wrong, and explains at length."""
    while error.__cause__ is not None:
        error = error.__cause__
    return shorten(f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}", 200)


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of operators that no U-Net has."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def main() -> None:
    """Runs `scripts/export.py`: a trained network as an ONNX file."""
    run_with_own_keys(USAGE, DEFAULTS, export)
