"""Draw the pictures of README and docs again: `python scripts/draw_docs.py [run=outputs/train/<run>]`."""

import sys
from pathlib import Path

from drawings import diagram, variants
from drawings.board import DPI, shrink_picture
from drawings.context import draw_context
from drawings.deformation import draw_deformation
from drawings.tiles import draw_tiles
from drawings.weight_map import draw_weight_map

DOCS = Path(__file__).resolve().parents[1] / "docs"


def draw_docs(folder: Path, scale: float = 1.0) -> None:
    dpi, photo_dpi = scale * DPI, scale * diagram.PHOTO_DPI
    diagram.draw_network(diagram.PAPER, 572, folder / "network.png", dpi)
    diagram.draw_copy_and_crop(folder / "fusion.png", dpi)
    variants.draw_attention_gate(folder / "attention.png", dpi)
    variants.draw_residual_unit(folder / "residual.png", dpi)
    variants.draw_deep_supervision(folder / "deep_supervision.png", dpi)
    diagram.draw_fcn_difference(folder / "fcn.png", dpi)
    diagram.draw_mirrored_tile(folder / "mirrored_tile.png", photo_dpi)
    diagram.draw_synthetic(folder / "synthetic.png", photo_dpi)
    draw_weight_map(folder / "weight_map.png", dpi)
    draw_deformation(folder / "deformation.png", dpi)
    draw_tiles(folder / "tiles.png", photo_dpi)
    draw_context(folder / "augmentation.png", photo_dpi)


def draw_demo(run: Path, folder: Path) -> None:
    predictions = sorted((run / "predictions").glob("*.png"))
    if not predictions:
        raise SystemExit(f"error: {run}/predictions holds no PNG: name the folder of a finished run, run=<folder>")
    shrink_picture(predictions[0], folder / "demo.png")
    shrink_picture(run / "curves.png", folder / "demo_curves.png")


def main(words: list[str]) -> None:
    unknown = [word for word in words if not word.startswith("run=")]
    if unknown or len(words) > 1:
        raise SystemExit(f"error: {(unknown or words)[-1]} is unknown here: the one word is run=<folder of a run>")
    draw_docs(DOCS)
    for word in words:
        draw_demo(Path(word.removeprefix("run=")), DOCS)


if __name__ == "__main__":
    main(sys.argv[1:])
