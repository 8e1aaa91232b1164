"""What the commands share: reading the command line, and errors of the user in one line."""

import errno
import logging
import os
import signal
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import unet_exp
from unet_exp import signals
from unet_exp.cli.mistyped import explain_unknown, refuse_bare_words
from unet_exp.console import name_commands
from unet_exp.errors import UserError
from unet_exp.progress import watch

if TYPE_CHECKING:
    from unet_exp.cli.over_checkpoints import OverCheckpoints

EXIT_MISTAKE = 2  # an error of the user
EXIT_DIFFERENT = 1  # a repeated run gives other numbers
_BASH = "-sc install=bash"


@contextmanager
def report_user_errors() -> Iterator[None]:
    """Turns errors of the user into one line on standard error and exit code 2; bugs keep their traceback.

    A signal that stops the program is one line too, with exit code 128 + its number.
    """
    try:
        with signals.install_handlers(), watch(Path(sys.argv[0]).stem):
            _show_warnings()
            # All is drawn with Agg, whatever this says: in a notebook, a backend that other environments lack.
            os.environ["MPLBACKEND"] = "agg"
            yield
    except UserError as error:
        _leave(str(error))
    except OSError as error:
        reasons = {
            errno.ENOSPC: "no space is left on the device; free some, or choose another folder with output=",
            errno.EDQUOT: "the disk quota is used up; free some space, or choose another folder with output=",
            errno.EIO: "the disk or the network share has failed; look after it, or choose another with output=",
            errno.ESTALE: "the network share was lost; bring it back, or choose another folder with output=",
            **dict.fromkeys((errno.EACCES, errno.EPERM), "permission denied"),
            errno.EROFS: "the file system is read-only; choose another folder with output=",
            errno.ENOLCK: "this file system has no locks; choose another folder with output=",
            errno.ENOTSUP: "this file system has no locks; choose another folder with output=",
        }
        if error.errno not in reasons:
            raise
        _leave(f"{error.filename or 'writing'}: {reasons[error.errno]}")
    except (signals.Stopped, KeyboardInterrupt) as error:
        # Ctrl-C also reaches a sweep through a process of its launcher, as Python's own exception.
        stop = error if isinstance(error, signals.Stopped) else signals.Stopped(signal.SIGINT)
        print(name_commands(str(stop)), file=sys.stderr)
        sys.exit(stop.exit_code)


def _leave(message: str) -> None:
    line = name_commands(" ".join(message.split()))
    # Text from an unknown file may hold control codes of terminals.
    print("error:", "".join(sign if sign.isprintable() else "?" for sign in line), file=sys.stderr)
    sys.exit(EXIT_MISTAKE)


def _show_warnings() -> None:
    """Makes a warning before the log of a run is open look as those after it, see `redirect_logs`."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(logging.Formatter("warning: %(message)s"))


def print_help(text: str) -> None:
    """Prints text; if its reader, such as `head`, has enough before its end, the program ends with exit code 1."""
    try:
        print(name_commands(text), flush=True)
    except BrokenPipeError:
        # Python flushes standard output once more at its end: see "Note on SIGPIPE" in its documentation of `signal`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def print_usage(usage: str) -> bool:
    """Prints the usage or the version if the command line asks for one; whether it does."""
    if print_version():
        return True
    wanted = bool({"-h", "--help"} & set(sys.argv[1:]))
    if wanted:
        print_help(usage)
    return wanted


def print_version() -> bool:
    """Prints the version if the command line asks for it; whether it does."""
    if "--version" not in sys.argv[1:]:
        return False
    print("unet-exp", unet_exp.__version__)
    with suppress(metadata.PackageNotFoundError):
        print("torch", metadata.version("torch"))
    return True


def check_flags(
    words: Sequence[str],
    known: Collection[str],
    shown: Sequence[str] = (),
    suggest_key: Callable[[str], str] = lambda _: "",
) -> None:
    """Refuses words with dashes that are no options: keys have none.

    Args:
        words: of the command line.
        known: the options of the command.
        shown: those to name; empty for all.
        suggest_key: says which key is probably meant by a name without dashes, empty where the name is a key.

    Raises:
        UserError: for the first one.
    """
    for word in words:
        name, _, value = word.partition("=")
        if not word.startswith("-") or name in known:
            continue
        key = name.strip("-").replace("-", "_")
        meant = suggest_key(key) if key and name.startswith("--") else ""
        if value and name.strip("-") and not meant:
            raise UserError(f"{word}: type {word.lstrip('-')} (no dashes)")
        if name in ("-sc", "--shell-completion"):
            raise UserError(f'{name}: tab completion is of scripts/train.py: eval "$(python scripts/train.py {_BASH})"')
        if meant:
            raise UserError(f"{word}: keys have no dashes, as in key=value{meant}")
        listed = ", ".join(option for option in shown or known if option.startswith("--"))
        raise UserError(f"unknown option {name}; there are {listed}; all else is typed without dashes, as key=value")


def run_over_checkpoint(
    usage: str,
    defaults: dict[str, Any],
    more_keys: tuple[str, ...],
    run: Callable[["OverCheckpoints"], object],
    more_data: dict[str, Any] | None = None,
) -> None:
    """Runs a command whose base is the config of a checkpoint, or of several.

    Args:
        usage: what `--help` prints.
        defaults: the command's own keys.
        more_keys: further keys that may be typed; all others belong to the trained network.
        run: takes the checkpoints, and what is typed over their configs.
        more_data: keys of `data`, with their defaults, that the command has for every checkpoint.
    """
    if print_usage(usage):
        return
    with report_user_errors():
        from unet_exp.compose import parse_overrides, prepare_words

        overrides = prepare_words(sys.argv[1:])
        show = "--cfg" in overrides
        overrides = [word for word in overrides if not (show and word in ("--cfg", "job"))]
        check_flags(overrides, (), ("--help", "--version", "--cfg job"))
        refuse_bare_words(overrides, tuple(defaults))
        typed = {override.key_or_group: override.value() for override in parse_overrides(overrides)}
        for key in typed:
            if key not in (*defaults, *more_keys) and key.split(".")[0] not in more_keys:
                own = [*defaults, *(key if "." in key else f"{key}..." for key in more_keys)]
                raise UserError(explain_unknown(key, own, _list_trained()))
        if show and not typed.get("checkpoint"):
            _print_keys({**defaults, **typed})
            return
        if not typed.get("checkpoint"):
            raise UserError("checkpoint=<file> is missing, such as outputs/train/<run>/checkpoints/best.ckpt")

        with signals.defer():
            from unet_exp.cli.over_checkpoints import OverCheckpoints

        over = OverCheckpoints.open(overrides, typed, defaults, more_data or {}, "data" in more_keys)
        if show:
            from omegaconf import OmegaConf

            print(OmegaConf.to_yaml(OmegaConf.create(over.compose(over.checkpoints[0]))), end="")
        else:
            run(over)


def _list_trained() -> set[str]:
    """The groups and keys at the top of a training's config."""
    from unet_exp.config import Config
    from unet_exp.options import Options

    return {*Config.model_fields, *Options().groups}


def _print_keys(values: dict[str, Any]) -> None:
    """Prints the config of a command without a checkpoint."""
    from omegaconf import OmegaConf

    print("# All other keys are those of the training: add checkpoint=<file or run folder> to see them.")
    print(OmegaConf.to_yaml(OmegaConf.create(values)), end="")


def run_with_own_keys(usage: str, defaults: dict[str, Any], run: Callable[[dict[str, Any]], object]) -> None:
    """Runs a command that has only the keys of `defaults`, the main one first; `run` takes their plain values."""
    if print_usage(usage):
        return
    with report_user_errors():
        from unet_exp.compose import parse_overrides, prepare_words

        check_flags(sys.argv[1:], ("--help", "--version"))
        refuse_bare_words(sys.argv[1:], tuple(defaults))
        typed = {override.key_or_group: override.value() for override in parse_overrides(prepare_words(sys.argv[1:]))}
        for key in typed:
            if key not in defaults:
                raise UserError(explain_unknown(key, tuple(defaults)))
        run({**defaults, **typed})
