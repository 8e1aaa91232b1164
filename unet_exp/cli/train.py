"""The command train: one training, or a sweep."""

import os
import sys
from argparse import ArgumentError, Namespace
from typing import Any

from unet_exp import config_files, signals
from unet_exp.cli.entry import EXIT_DIFFERENT, check_flags, print_help, print_version, report_user_errors
from unet_exp.compose import compose_command, parse_overrides, prepare_words
from unet_exp.errors import UserError
from unet_exp.files import conf_dir
from unet_exp.known_keys import has_key, suggest_key
from unet_exp.options import Options, refuse_several

_SHOWN = ("--help", "--version", "--config-dir", "--multirun", "--cfg job")
"""The options to name where one does not exist."""


def main() -> None:
    """Runs `scripts/train.py`: one training, or with `-m` one for each combination."""
    if print_version():
        return
    with report_user_errors():
        args = _read_options()
        _check_options(args)
        if args.cfg == "job":
            _print_config(args)
        elif args.help:
            _print_help(args)
        elif args.hydra_help or args.info or args.shell_completion or args.cfg:
            _show(args)
        else:
            _train(args)


def _read_options() -> Namespace:
    """Hydra's options and the words of the command line, which it puts in Hydra's order.

    Raises:
        UserError: for an option that does not exist, or lacks its value.
    """
    # Hydra's own parser, which has no public name: these checks must accept the same options.
    from hydra._internal.utils import get_args_parser

    words, parser = prepare_words(sys.argv[1:]), get_args_parser()
    parser.exit_on_error = False
    check_flags(words, parser._option_string_actions, _SHOWN, _suggest_key)
    try:
        args = parser.parse_intermixed_args(words)
    except ArgumentError as error:
        raise UserError(str(error)) from None
    # For Hydra, which does not take options after words.
    sys.argv[1:] = [*(word for word in words if word not in args.overrides), *args.overrides]
    return args


def _suggest_key(name: str) -> str:
    """Which key is probably meant by `--lr`; empty for what is one, or like none."""
    config = compose_command([]).origins.config
    return "" if "." in name or has_key(config, name) else suggest_key(config, name, "", name)


def _check_options(args: Namespace) -> None:
    """Refuses options of Hydra's that would have no effect."""
    for option in ("config_path", "config_name", "experimental_rerun", *(() if args.cfg else ("package", "resolve"))):
        if getattr(args, option, None):
            value = str(getattr(args, option))
            meant = f" (did you mean experiment={value}?)" * (value in Options(args.config_dir).words("experiment"))
            raise UserError(
                f"--{option.replace('_', '-')} is not used here; --config-dir adds configs of your own{meant}"
            )
    if args.multirun and (args.cfg or args.info):
        raise UserError("--cfg and --info show one training: leave out -m, and give each key one value")


def _print_config(args: Namespace) -> None:
    """Prints the config of a training with these words, or with `-p` a part of it."""
    from omegaconf import OmegaConf

    for override in parse_overrides(args.overrides, sweeps=True):
        if override.is_sweep_override():
            raise refuse_several(override, "several values are a sweep (-m), and --cfg shows one training: type one")
    composed = compose_command(args.overrides, args.config_dir)
    found: Any = {**composed.training, "search": composed.search, "sweep": composed.sweep}
    package = "" if args.package in (None, "_global_") else args.package
    for key in filter(None, package.split(".")):
        if not isinstance(found, dict) or key not in found:
            raise UserError(f"--package {package}: there is no such key; --cfg job without it prints all of them")
        found = found[key]
    if isinstance(found, dict | list):
        print((f"# @package {package}\n" if package else "") + OmegaConf.to_yaml(found), end="")
    else:
        print("null" if found is None else found)


def _print_help(args: Namespace) -> None:
    """Prints the usage; a mistake in what is typed beside `--help` is told instead."""
    from unet_exp.cli.train_help import format_help

    if args.overrides or args.config_dir:
        compose_command(args.overrides, args.config_dir)
    print_help(format_help(args.config_dir))


def _show(args: Namespace) -> None:
    """Lets Hydra print the help of its own, its own settings or the completions."""
    import hydra
    from omegaconf import DictConfig

    config_files.register()
    if not args.shell_completion:
        compose_command(args.overrides, args.config_dir)

    @hydra.main(config_path=str(conf_dir()), config_name="train", version_base="1.3")
    def show(composed: DictConfig) -> None:
        raise AssertionError(composed)

    show()


def _train(args: Namespace) -> None:
    from unet_exp.cli.command import check_own_names, check_places, read_command

    command = read_command(args.overrides, args.config_dir, args.multirun)

    from unet_exp.config import Config  # only now: a wrong word needs no schema

    for config in (command,) if isinstance(command, Config) else command.configs:
        check_own_names(config)
    if not isinstance(command, Config):
        from unet_exp.sweeps.launch import run_sweep

        run_sweep(command)
    else:
        check_places(command)
        # What its sockets have to say comes with a line of ours; PyTorch reads it when it is imported.
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
        with signals.defer():
            from unet_exp.training.rerun import Rerun, conclude
            from unet_exp.training.run import train

        if command.rerun is None:
            folder = train(command, args.overrides)
        else:
            rerun = Rerun.open(command, args.overrides)
            folder = train(rerun.config, rerun.overrides, rerun=rerun)
        if not conclude(folder):
            sys.exit(EXIT_DIFFERENT)
