"""The command train: one training, or a sweep."""

import sys
from argparse import Namespace

from unet_exp import config_files, signals
from unet_exp.cli.entry import EXIT_DIFFERENT, report_user_errors
from unet_exp.compose import compose_train, conf_dir, prepare_words
from unet_exp.errors import UserError


def main() -> None:
    """Runs `scripts/train.py`: one training, or with `-m` one for each combination."""
    # Hydra's own parser, which has no public name: these checks must accept the same options.
    from hydra._internal.utils import get_args_parser

    sys.argv[1:] = prepare_words(sys.argv[1:])
    args = get_args_parser().parse_args()
    if args.help or args.hydra_help or args.info or args.shell_completion or args.cfg:
        _show(args)
    else:
        with report_user_errors():
            _train(args)


def _show(args: Namespace) -> None:
    """Lets Hydra print its help, the config or the completions."""
    import hydra
    from omegaconf import DictConfig

    config_files.register()
    with report_user_errors():
        if not args.shell_completion and not args.multirun:
            compose_train(args.overrides, args.config_dir)

    @hydra.main(config_path=str(conf_dir()), config_name="train", version_base="1.3")
    def show(composed: DictConfig) -> None:
        raise AssertionError(composed)

    show()


def _train(args: Namespace) -> None:
    for option in ("package", "config_path", "config_name", "experimental_rerun"):
        if getattr(args, option, None):
            raise UserError(f"--{option.replace('_', '-')} is not used here; --config-dir adds configs of your own")

    from unet_exp.cli.command import read_command
    from unet_exp.sweeps.plan import SweepPlan

    command = read_command(args.overrides, args.config_dir, args.multirun)
    if isinstance(command, SweepPlan):
        from unet_exp.sweeps.launch import run_sweep

        run_sweep(command)
    else:
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
