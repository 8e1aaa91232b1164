"""Look at images and masks before a training: `python scripts/check_data.py --help`."""

from unet_exp.app.cli import check_data

if __name__ == "__main__":
    check_data()
