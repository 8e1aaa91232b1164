#!/usr/bin/env python3
"""List or clear what is kept for later starts: `python scripts/cache.py --help`."""

import installed  # noqa: F401

from unet_exp.cli.cache import main

if __name__ == "__main__":
    main()
