"""Measure how fast things are: `python scripts/benchmark.py --help`."""

from unet_exp.app.cli import benchmark

if __name__ == "__main__":
    benchmark()
