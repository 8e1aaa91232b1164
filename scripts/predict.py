"""Masks for your images: `python scripts/predict.py --help`."""

from unet_exp.app.cli import predict

if __name__ == "__main__":
    predict()
