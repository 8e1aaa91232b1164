"""The command line of a command that takes the words of `scripts/train.py` and no option but `--config-dir`."""

import sys
from argparse import ArgumentError, ArgumentParser

from unet_exp.cli.entry import check_flags
from unet_exp.errors import UserError


def read_words() -> tuple[list[str], str | None]:
    """The typed words, and the folder of the user's own configs.

    Raises:
        UserError: for any other option.
    """
    from unet_exp.compose import prepare_words

    parser = ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--config-dir", "-cd")
    try:
        args, words = parser.parse_known_args(prepare_words(sys.argv[1:]))
    except ArgumentError as error:
        raise UserError(str(error)) from None
    check_flags(words, ("--help", "--version", "--config-dir"))
    return words, args.config_dir
