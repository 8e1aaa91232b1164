"""The command export: writes a trained network as an ONNX file."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from unet_exp.cli.entry import run_with_own_keys
from unet_exp.errors import ConfigError, DataError
from unet_exp.files import write_whole
from unet_exp.schema import Strict, validate

USAGE = """Export a trained network to ONNX.

Usage: python scripts/export.py checkpoint=<file or run folder> [key=value] ...

  checkpoint  the file, or a run's folder (its best.ckpt)
  output      the file to write (model.onnx); an existing one is replaced
  opset       version of ONNX's operators, 17 to 25 (18)
  trust       packages whose classes the checkpoint may name ([]): docs/extend.md

The file holds only the network, from normalised images, (batch, channels, height, width) float32 of any legal size, to
logits. Its metadata has classes, normalisation, legal sizes and the training's config, as JSON texts under
unet_exp.<name>. Before it is written, ONNX Runtime and the network are compared on images of several sizes.
scripts/predict.py and unet_exp.load() accept it like a checkpoint. It needs pip install 'unet-exp[onnx]'.

Examples:
  python scripts/export.py checkpoint=outputs/train/<run>
  python scripts/export.py checkpoint=best.ckpt output=exported/cells.onnx opset=20
"""


class Export(Strict):
    """The command's own keys."""

    checkpoint: str
    output: str
    opset: Annotated[int, Field(ge=17, le=25)]
    trust: list[str]


DEFAULTS: dict[str, Any] = {"checkpoint": "", "output": "model.onnx", "opset": 18, "trust": []}


def export(values: dict[str, Any]) -> Path:
    """Writes the network of a checkpoint as ONNX, by the keys of `Export`, and compares the two.

    Raises:
        UserError: for what the user can correct, and if ONNX Runtime gives other logits than the network; then no file
            is written.
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

    from unet_exp.checkpoints.onnx_export import export_to_onnx
    from unet_exp.checkpoints.opening import open_checkpoint
    from unet_exp.console import make_console

    checkpoint = open_checkpoint(task.checkpoint, task.trust)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"output={output}: its folder cannot be made ({error.strerror}); choose another") from None
    with write_whole(output) as side:
        differences = export_to_onnx(checkpoint, side, task.opset)
    console = make_console()
    for shape, difference in differences.items():
        console.print(f"{' x '.join(map(str, shape))}: largest difference {difference:.1e}")
    console.print(f"opset {task.opset}; ONNX Runtime and the network agree within {max(differences.values()):.1e}")
    console.print(str(output), style="bold", soft_wrap=True)
    return output


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:
        raise ConfigError(f"{path}: this path cannot be used ({error.strerror})") from None


def main() -> None:
    """Runs `scripts/export.py`."""
    run_with_own_keys(USAGE, DEFAULTS, export)
