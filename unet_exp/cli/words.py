"""The command line of a command that takes the words of `scripts/train.py` and no option but `--config-dir`."""

import sys
from argparse import ArgumentParser

from unet_exp.errors import UserError


def read_words() -> tuple[list[str], str | None]:
    """The typed words, and the folder of the user's own configs.

    Raises:
        UserError: for any other option.
    """
    from unet_exp.compose import prepare_words

    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config-dir", "-cd")
    args, words = parser.parse_known_args(prepare_words(sys.argv[1:]))
    if flags := [word for word in words if word.startswith("-")]:
        raise UserError(f"unknown option {flags[0]}; there are --help, --config-dir and the words of scripts/train.py")
    return words, args.config_dir
