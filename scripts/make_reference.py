"""Write docs/configuration.md, the reference of every option and key: `python scripts/make_reference.py`."""

from reference import page

if __name__ == "__main__":
    page.write()
