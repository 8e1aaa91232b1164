"""Train a U-Net: `python scripts/train.py --help`."""

from unet_exp.app.cli import train

if __name__ == "__main__":
    train()
