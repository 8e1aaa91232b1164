#!/usr/bin/env python3
"""Compare runs and write the page: `python scripts/compare.py --help`."""

import installed  # noqa: F401

from unet_exp.cli.compare import main

if __name__ == "__main__":
    main()
