#!/usr/bin/env python3
"""Export a network to ONNX: `python scripts/export.py --help`."""

import installed  # noqa: F401

from unet_exp.cli.export import main

if __name__ == "__main__":
    main()
