"""Score a checkpoint: `python scripts/evaluate.py --help`."""

from unet_exp.app.cli import evaluate

if __name__ == "__main__":
    evaluate()
