"""What the site needs beside Sphinx: its configuration, `docs/conf.py`, loads it."""
