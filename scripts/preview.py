#!/usr/bin/env python3
"""Look at patches as a network will see them: `python scripts/preview.py --help`."""

import installed  # noqa: F401

from unet_exp.cli.preview import main

if __name__ == "__main__":
    main()
