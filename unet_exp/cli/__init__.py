"""The command line: one file a command."""

import os

# Else pydantic looks through all installed packages for extensions of its own, at every start.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
