#!/usr/bin/env python3
"""Masks for your images: `python scripts/predict.py --help`."""

import installed  # noqa: F401

from unet_exp.cli.predict import main

if __name__ == "__main__":
    main()
