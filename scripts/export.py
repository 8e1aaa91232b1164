"""Export a network to ONNX: `python scripts/export.py --help`."""

from unet_exp.app.cli import export

if __name__ == "__main__":
    export()
