"""The command line: one file a command."""

import os

# Else pydantic looks through all installed packages for extensions of its own, at every start.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

# Else PyTorch's profiler (debug=profile) prints a log of its own; errors are told in any case.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

# Threads that wait for each other spin, and take the cores from another training beside them (docs/performance.md).
# PyTorch's OpenMP reads this when it is loaded.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
