"""The command line: one file a command."""

import os

# Else pydantic looks through all installed packages for extensions of its own, at every start.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

# Threads that wait for each other spin, and take the cores from another training beside them (docs/performance.md).
# PyTorch's OpenMP reads this when it is loaded.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
