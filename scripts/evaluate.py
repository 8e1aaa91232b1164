#!/usr/bin/env python3
"""Score a checkpoint: `python scripts/evaluate.py --help`."""

import installed  # noqa: F401

from unet_exp.cli.evaluate import main

if __name__ == "__main__":
    main()
