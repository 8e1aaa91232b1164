"""Ends a command in one line, not in a traceback, where the environment is not active; the commands import it first."""

import sys
from importlib.util import find_spec

# One of ours, of the first that it imports, and of the heaviest: an environment has all three.
for _package in ("unet_exp", "hydra", "torch"):
    if find_spec(_package) is None:
        print(
            f"error: {_package} is not installed for {sys.executable}; type: source .venv/bin/activate "
            "(after make setup)",
            file=sys.stderr,
        )
        sys.exit(2)
