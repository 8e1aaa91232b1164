"""Imports, checks and builds a user's own class; knows no torch."""

import importlib
import inspect
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from unet_exp.errors import ConfigError, suggest


def build_custom(
    group: str,
    target: str,
    arguments: Mapping[str, Any],
    methods: Mapping[str, Sequence[str]],
    base: type = object,
    base_name: str = "",
    first: Sequence[Any] = (),
    shown: str = "",
) -> Any:
    """Imports a class and builds it.

    Args:
        group: the key that names it, for messages, such as `loss` or `callbacks[0]`.
        target: `package.module.Name`. Its code runs: it must be typed, or trusted, by the user.
        arguments: by name.
        methods: that it must have, with the arguments of each, in order.
        base: from which it must derive.
        base_name: what messages call `base`.
        first: arguments before them, by their place.
        shown: the target as typed, where that is not its path.

    Raises:
        ConfigError: if it cannot be imported, is no such class, or does not take these arguments.
    """
    where = f"{group}.target={shown or target}"
    found = load_class(where, target, base, base_name)
    wanted = _find_signature(found)
    try:
        wanted.bind(*first, **arguments)
    except TypeError as error:
        raise ConfigError(
            f"{where}: {error}; it is built with {wanted}, and given {_format_arguments(arguments)}; see {group}.params"
        ) from None
    try:
        built = found(*first, **arguments)
    except Exception as error:  # whatever the user's code does
        raise ConfigError(
            f"{where}: building it with {_format_arguments(arguments)} raises {describe_error(error)}"
        ) from error
    for name, given in methods.items():
        check_method(where, built, name, given)
    return built


def check_package(where: str, target: str) -> None:
    """Checks that the package of a class is there, without importing it; the message begins with `where`.

    Raises:
        ConfigError: if not.
    """
    package = target.partition(".")[0]
    if package not in sys.modules and find_spec(package) is None:
        raise ConfigError(_explain_missing(where, package))


def load_class(where: str, target: str, base: type = object, base_name: str = "") -> type:
    """Imports a class; its code runs. Arguments as for `build_custom`; the message begins with `where`.

    Raises:
        ConfigError: if it cannot be imported, or is no such class.
    """
    found = _import_class(where, target)
    if not (inspect.isclass(found) and issubclass(found, base)):
        raise ConfigError(f"{where}: it is no class{f' that derives from {base_name}' if base_name else ''}")
    return found


def takes(called: Any, *given: Any, **named: Any) -> bool:
    """Whether a class or function can be called like this, as far as its signature tells."""
    try:
        _find_signature(called).bind(*given, **named)
    except TypeError:
        return False
    return True


def takes_argument(called: Any, name: str) -> bool:
    """Whether a class or function has an argument of this name, as far as its signature tells."""
    return name in _find_signature(called).parameters


def check_method(where: str, built: Any, name: str, given: Sequence[str]) -> None:
    """Checks that an object has a method that takes these arguments; the message begins with `where`.

    Raises:
        ConfigError: if not.
    """
    method, listed = getattr(built, name, None), ", ".join(given)
    if not callable(method):
        raise ConfigError(f"{where}: it has no method {name}({listed})")
    takes = _find_signature(method)
    try:
        takes.bind(*given)
    except TypeError:
        raise ConfigError(f"{where}: its {name} takes {takes} and is called with ({listed})") from None


def _find_signature(called: Any) -> inspect.Signature:
    """What it takes, without types; anything, where that is not known, as of some that are written in C."""
    try:
        found = inspect.signature(called)
    except (TypeError, ValueError):
        return inspect.signature(lambda *_, **__: None)
    plain = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in found.parameters.values()]
    return found.replace(parameters=plain, return_annotation=inspect.Signature.empty)


def describe_error(error: BaseException) -> str:
    """An exception in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def _import_class(where: str, target: str) -> Any:
    path, _, name = target.rpartition(".")
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name and (path == error.name or path.startswith(f"{error.name}.")):
            raise ConfigError(_explain_missing(where, error.name)) from None
        raise ConfigError(f"{where}: importing {path} raises {describe_error(error)}") from error
    except (Exception, SystemExit) as error:  # whatever the user's file does when it is read
        raise ConfigError(f"{where}: importing {path} raises {describe_error(error)}") from error
    if not hasattr(module, name):
        raise ConfigError(f"{where}: {path} has no {name}{suggest(name, dir(module))}")
    return getattr(module, name)


def _explain_missing(where: str, module: str) -> str:
    return f"{where}: there is no module {module}; install its package, or put its folder on PYTHONPATH"


def _format_arguments(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items()) or "nothing"
