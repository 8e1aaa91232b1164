"""The command line: every entry point reads its words here, and every mistake leaves as one line."""

import errno
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unet_exp import signals
from unet_exp.errors import UserError

if TYPE_CHECKING:
    from unet_exp.checkpoint import Checkpoint

EXIT_MISTAKE = 2
"""Exit code where the user can mend what is wrong."""
EXIT_DIFFERENT = 1
"""Exit code where a repeated run has come to other numbers."""


@contextmanager
def told_in_one_line() -> Iterator[None]:
    """Turns what a user can mend into one line on standard error and exit code 2; bugs keep their traceback.

    A signal that asks the program to leave is one line too, and 128 + its number.
    """
    try:
        with signals.handled():
            yield
    except UserError as error:
        _leave(str(error))
    except OSError as error:
        reasons = {
            errno.ENOSPC: "no space is left on the device; free some, or choose another folder with output=",
            errno.EDQUOT: "the disk quota is used up; free some space, or choose another folder with output=",
            errno.EIO: "the disk or the network share has failed; look after it, or choose another with output=",
            errno.ESTALE: "the network share was lost; bring it back, or choose another folder with output=",
            errno.EACCES: "permission denied",
            errno.EPERM: "permission denied",
            errno.EROFS: "the file system is read-only; choose another folder with output=",
            errno.ENOLCK: "this file system has no locks; choose another folder with output=",
            errno.ENOTSUP: "this file system has no locks; choose another folder with output=",
        }
        if error.errno not in reasons:
            raise
        _leave(f"{error.filename or 'writing'}: {reasons[error.errno]}")
    except (signals.Stopped, KeyboardInterrupt) as error:
        # Ctrl-C reaches a sweep also through a process of its launcher, where it is Python's own.
        stop = error if isinstance(error, signals.Stopped) else signals.Stopped(signal.SIGINT)
        print(stop, file=sys.stderr)
        sys.exit(stop.exit_code)


def _leave(message: str) -> None:
    line = " ".join(message.split())
    # What it quotes from a stranger's file may hold codes that terminals obey.
    print("error:", "".join(sign if sign.isprintable() else "?" for sign in line), file=sys.stderr)
    sys.exit(EXIT_MISTAKE)


def train() -> None:
    """`scripts/train.py`: one training, or with `-m` one for each combination."""
    from hydra import main
    from hydra._internal.utils import get_args_parser
    from omegaconf import DictConfig

    from unet_exp.app.compose import compose_train, conf_dir, paths_quoted

    sys.argv[1:] = paths_quoted(sys.argv[1:])
    # Hydra's own parser, so that what it will accept and what is checked here are the same.
    args = get_args_parser().parse_args()
    if args.help or args.hydra_help or args.info or args.shell_completion or args.cfg:
        with told_in_one_line():
            if not args.shell_completion and not args.multirun:
                compose_train(args.overrides, args.config_dir)

        @main(config_path=str(conf_dir()), config_name="train", version_base="1.3")
        def show(composed: DictConfig) -> None:
            raise AssertionError(composed)

        show()
        return
    with told_in_one_line():
        for option in ("package", "config_path", "config_name", "experimental_rerun"):
            if getattr(args, option, None):
                raise UserError(f"--{option.replace('_', '-')} is not used here; --config-dir adds configs of your own")

        from unet_exp.app.plan import Plan, read_command

        command = read_command(args.overrides, args.config_dir, args.multirun)
        if isinstance(command, Plan):
            from unet_exp.app.sweep import run_sweep

            run_sweep(command)
        else:
            with signals.postponed():
                from unet_exp.app.rerun import conclude, rerun
                from unet_exp.app.train import train as run_training

            run = run_training if command.rerun is None else rerun
            if not conclude(run(command, args.overrides)):
                sys.exit(EXIT_DIFFERENT)


def check_data() -> None:
    """`scripts/check_data.py`: a look at images and masks before a training."""
    from unet_exp.app.check_data import USAGE
    from unet_exp.app.check_data import check_data as run

    if {"-h", "--help"} & set(sys.argv[1:]):
        print(USAGE)
        return
    with told_in_one_line():
        from argparse import ArgumentParser

        from unet_exp.app.compose import compose_train, parse_overrides, paths_quoted
        from unet_exp.config import parse

        parser = ArgumentParser(add_help=False, allow_abbrev=False)
        parser.add_argument("--config-dir", "-cd")
        args, overrides = parser.parse_known_args(paths_quoted(sys.argv[1:]))
        if flags := [word for word in overrides if word.startswith("-")]:
            raise UserError(
                f"unknown option {flags[0]}; there are --help, --config-dir and the words of scripts/train.py"
            )
        config = parse(compose_train(overrides, args.config_dir))
        typed = any(override.key_or_group == "output" for override in parse_overrides(overrides))
        run(config, Path(config.output) if typed else Path(config.output, "check_data", config.data.name))


def _over_checkpoint(
    usage: str,
    defaults: dict[str, Any],
    more_keys: tuple[str, ...],
    run: Callable[[dict[str, Any], "Checkpoint"], object],
) -> None:
    """An entry point whose base is a checkpoint's config.

    Args:
        usage: what `--help` prints.
        defaults: the entry point's own keys.
        more_keys: what else may be typed; the rest belongs to the network as it was trained.
        run: takes the entry point's values and the training's values, in one and plain, and the checkpoint.
    """
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(usage)
        return
    with told_in_one_line():
        from unet_exp.app.compose import compose_over, parse_overrides, paths_quoted

        overrides = paths_quoted(sys.argv[1:])
        show = "--cfg" in overrides
        overrides = [word for word in overrides if not (show and word in ("--cfg", "job"))]
        if flags := [word for word in overrides if word.startswith("-")]:
            raise UserError(f"unknown option {flags[0]}; there are --help, --cfg job and overrides such as split=val")
        typed = {override.key_or_group: override.value() for override in parse_overrides(overrides)}
        for key in typed:
            if key not in (*defaults, *more_keys) and key.split(".")[0] not in more_keys:
                own = ", ".join([*defaults, *(key if "." in key else f"{key}..." for key in more_keys)])
                raise UserError(f"{key}: a trained network keeps its own; what can be typed here is {own}")
        if not typed.get("checkpoint"):
            raise UserError("checkpoint=<file> is missing, such as outputs/train/<run>/checkpoints/best.ckpt")

        with signals.postponed():
            from unet_exp.inference.onnx_model import open_model

        # Only what is typed now: a checkpoint's own config must not vouch for itself.
        trust = typed.get("trust") or []
        checkpoint = open_model(str(typed["checkpoint"]), trust if isinstance(trust, list) else [str(trust)])
        # The training's machine and folders are not those of today.
        trainer = {**checkpoint.parsed().trainer.model_dump(), "accelerator": "auto"}
        values = compose_over({**checkpoint.config, "trainer": trainer}, defaults, overrides)
        if show:
            from omegaconf import OmegaConf

            print(OmegaConf.to_yaml(OmegaConf.create(values)), end="")
        else:
            run(values, checkpoint)


def evaluate() -> None:
    """`scripts/evaluate.py`: a checkpoint's scores on any split."""
    from unet_exp.app.evaluate import DEFAULTS, MORE_KEYS, USAGE
    from unet_exp.app.evaluate import evaluate as run

    _over_checkpoint(USAGE, DEFAULTS, MORE_KEYS, run)


def predict() -> None:
    """`scripts/predict.py`: masks for a user's images."""
    from unet_exp.app.predict import DEFAULTS, MORE_KEYS, USAGE
    from unet_exp.app.predict import predict as run

    _over_checkpoint(USAGE, DEFAULTS, MORE_KEYS, run)


def benchmark() -> None:
    """`scripts/benchmark.py`: how fast things are, each beside another way to the same end."""
    from unet_exp.app.benchmark import DEFAULTS, USAGE
    from unet_exp.app.benchmark import benchmark as run

    _own_keys(USAGE, DEFAULTS, run)


def compare() -> None:
    """`scripts/compare.py`: which difference between finished runs is real."""
    from unet_exp.app.compare import DEFAULTS, USAGE
    from unet_exp.app.compare import compare as run

    _own_keys(USAGE, DEFAULTS, run)


def export() -> None:
    """`scripts/export.py`: a trained network as an ONNX file."""
    from unet_exp.app.export import DEFAULTS, USAGE
    from unet_exp.app.export import export as run

    _own_keys(USAGE, DEFAULTS, run)


def _own_keys(usage: str, defaults: dict[str, Any], run: Callable[[dict[str, Any]], object]) -> None:
    """An entry point that has only keys of its own.

    Args:
        usage: what `--help` prints.
        defaults: its keys and their default values.
        run: takes the values, plain.
    """
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(usage)
        return
    with told_in_one_line():
        from unet_exp.app.compose import parse_overrides, paths_quoted

        typed = {override.key_or_group: override.value() for override in parse_overrides(paths_quoted(sys.argv[1:]))}
        for key in typed:
            if key not in defaults:
                raise UserError(f"unknown key {key}; the keys are {', '.join(defaults)}")
        run({**defaults, **typed})
