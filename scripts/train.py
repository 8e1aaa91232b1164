#!/usr/bin/env python3
"""Train a U-Net: `python scripts/train.py --help`."""

import installed  # noqa: F401

# fish's completion looks for the words @hydra.main in this file.
from unet_exp.cli.train import main

if __name__ == "__main__":
    main()
