"""Compare runs and write the page: `python scripts/compare.py --help`."""

from unet_exp.app.cli import compare

if __name__ == "__main__":
    compare()
