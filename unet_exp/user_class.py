"""Imports, checks and builds a user's own class."""

import difflib
import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from unet_exp.errors import ConfigError


def build_custom(group: str, target: str, arguments: Mapping[str, Any], forward: tuple[str, ...]) -> nn.Module:
    """Imports a class and builds it.

    Args:
        group: the key that names it, for messages: `loss` or `model`.
        target: `package.module.Name`. Its code runs: it must be typed, or trusted, by the user.
        arguments: by name.
        forward: the arguments of its `forward`, in order.

    Raises:
        ConfigError: if it cannot be imported, is no `torch.nn.Module`, or does not take these arguments.
    """
    where = f"{group}.target={target}"
    found = _import_class(where, target)
    if not (inspect.isclass(found) and issubclass(found, nn.Module)):
        raise ConfigError(f"{where}: it is no class that derives from torch.nn.Module")
    wanted = inspect.signature(found)
    try:
        wanted.bind(**arguments)
    except TypeError as error:
        raise ConfigError(
            f"{where}: {error}; it is built with {wanted}, and given {_format_arguments(arguments)}; see {group}.params"
        ) from None
    try:
        built = found(**arguments)
    except Exception as error:  # whatever the user's code does
        raise ConfigError(
            f"{where}: building it with {_format_arguments(arguments)} raises {describe_error(error)}"
        ) from error
    takes = inspect.signature(built.forward)
    try:
        takes.bind(*forward)
    except TypeError:
        raise ConfigError(f"{where}: its forward takes {takes} and is called with ({', '.join(forward)})") from None
    return built


def describe_error(error: BaseException) -> str:
    """An exception in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def _import_class(where: str, target: str) -> Any:
    path, _, name = target.rpartition(".")
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name and (path == error.name or path.startswith(f"{error.name}.")):
            raise ConfigError(
                f"{where}: there is no module {error.name}; install its package, or put its folder on PYTHONPATH"
            ) from None
        raise ConfigError(f"{where}: importing {path} raises {describe_error(error)}") from error
    except (Exception, SystemExit) as error:  # whatever the user's file does when it is read
        raise ConfigError(f"{where}: importing {path} raises {describe_error(error)}") from error
    if not hasattr(module, name):
        near = difflib.get_close_matches(name, dir(module), n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ConfigError(f"{where}: {path} has no {name}{hint}")
    return getattr(module, name)


def _format_arguments(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items()) or "nothing"
