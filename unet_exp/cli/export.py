"""The command export: writes a trained network as an ONNX or safetensors file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from unet_exp.cli.entry import run_with_own_keys
from unet_exp.config.values import PathName
from unet_exp.errors import ConfigError, DataError
from unet_exp.extras import hint_extra
from unet_exp.files import write_whole
from unet_exp.schema import Strict, validate

if TYPE_CHECKING:
    from rich.console import Console

    from unet_exp.checkpoints.checkpoint import Checkpoint

USAGE = """Export a trained network to ONNX or safetensors.

Usage: python scripts/export.py checkpoint=<file or run folder> [key=value] ...

  checkpoint  the file, or a run's folder (its best.ckpt)
  output      the file to write (model.onnx), .onnx or .safetensors; an existing one is replaced
  opset       of .onnx: version of ONNX's operators, 17 to 25 (18)
  trust       packages whose classes the checkpoint may name ([]): docs/extend.md

An ONNX file holds only the network, from normalised images, (batch, channels, height, width) float32 of any legal size,
to logits. Before it is written, ONNX Runtime and the network are compared on images of several sizes. It needs
pip install -e '.[onnx]'. A safetensors file holds the weights as they are, without what a training needs to go on.
The metadata of both have classes, normalisation, legal sizes and the training's config, as JSON texts under
unet_exp.<name>. scripts/predict.py, scripts/evaluate.py and unet_exp.load() accept them like a checkpoint.

Examples:
  python scripts/export.py checkpoint=outputs/train/<run>
  python scripts/export.py checkpoint=best.ckpt output=exported/cells.onnx opset=20
  python scripts/export.py checkpoint=outputs/train/<run> output=model.safetensors
"""
_OPSET = 18


class Export(Strict):
    """The command's own keys."""

    checkpoint: PathName
    output: PathName
    opset: Annotated[int, Field(ge=17, le=25)] | None
    trust: list[str]


DEFAULTS: dict[str, Any] = {"checkpoint": "", "output": "model.onnx", "opset": None, "trust": []}


def export(values: dict[str, Any]) -> Path:
    """Writes the network of a checkpoint to a file, by the keys of `Export`, and compares the two.

    Raises:
        UserError: for what the user can correct, and if the file does not give what the network gives; then it is not
            written.
    """
    if isinstance(named := values["checkpoint"], list):
        several = ", ".join(map(str, named))
        raise ConfigError(f"checkpoint=[{several}]: export writes one network; name one file or folder of a run")
    task = validate(Export, values)
    output = Path(task.output)
    _check_paths(task, output)
    if output.suffix == ".onnx":
        _require_onnx()

    from unet_exp.checkpoints.opening import open_checkpoint
    from unet_exp.console import make_console

    checkpoint = open_checkpoint(task.checkpoint, task.trust)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"output={output}: its folder cannot be made ({error.strerror}); choose another") from None
    console = make_console()
    with write_whole(output) as side:
        if output.suffix == ".onnx":
            _write_onnx(checkpoint, side, task.opset or _OPSET, console)
        else:
            _write_safetensors(checkpoint, side, console)
    console.print(str(output), style="bold", soft_wrap=True)
    return output


def _check_paths(task: Export, output: Path) -> None:
    """Finds mistakes in the keys before PyTorch is imported."""
    if not task.checkpoint:
        raise ConfigError("checkpoint=<file> is missing, such as outputs/train/<run>/checkpoints/best.ckpt")
    if output.suffix not in (".onnx", ".safetensors") or _is_folder(output):
        raise ConfigError(f"output={output}: must be a file whose name ends in .onnx or .safetensors")
    if output.suffix != ".onnx" and task.opset is not None:
        raise ConfigError(f"opset={task.opset} is of ONNX files: leave it out with output={output}")
    if task.checkpoint.lower().endswith(".onnx") and not _is_folder(Path(task.checkpoint)):
        raise ConfigError(f"checkpoint={task.checkpoint}: is an exported network already; name the checkpoint it is of")


def _require_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"{error.name} is missing: {hint_extra('onnx')}") from None


def _write_onnx(checkpoint: "Checkpoint", path: Path, opset: int, console: "Console") -> None:
    from unet_exp.checkpoints.onnx_export import export_to_onnx

    differences = export_to_onnx(checkpoint, path, opset)
    for shape, difference in differences.items():
        console.print(f"{' x '.join(map(str, shape))}: largest difference {difference:.1e}")
    console.print(f"opset {opset}; ONNX Runtime and the network agree within {max(differences.values()):.1e}")


def _write_safetensors(checkpoint: "Checkpoint", path: Path, console: "Console") -> None:
    from unet_exp.checkpoints.safetensors_file import export_to_safetensors

    count = export_to_safetensors(checkpoint, path)
    console.print(f"{len(checkpoint.weights)} weights, {count:,} numbers; read back, each is what it was")


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:
        raise ConfigError(f"{path}: this path cannot be used ({error.strerror})") from None


def main() -> None:
    """Runs `scripts/export.py`."""
    run_with_own_keys(USAGE, DEFAULTS, export)
