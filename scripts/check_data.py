#!/usr/bin/env python3
"""Look at images and masks before a training: `python scripts/check_data.py --help`."""

import installed  # noqa: F401

from unet_exp.cli.check_data import main

if __name__ == "__main__":
    main()
