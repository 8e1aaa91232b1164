"""Signatures as they stand in the source."""

import ast
import inspect
import textwrap
from typing import Any


def write_signature(what: str, described: Any) -> tuple[str, str | None] | None:
    """The signature as in the source, with `NDArray[np.uint8]` and not what that stands for.

    Of a class, the arguments of its `__init__` or its fields; nothing where these come from another package.

    Args:
        what: `class`, `exception`, `function`, `method`, or another word of autodoc.
        described: what is documented.

    Returns:
        The arguments in brackets, and the type that is returned; None where there is no source of ours.
    """
    if what not in ("class", "exception", "function", "method") or not _is_ours(described):
        return None
    if inspect.isclass(described):
        described = next(one for one in described.__mro__ if vars(one).keys() & {"__init__", "_fields"})
        if not _is_ours(described):
            return "", None
    tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(described)))).body[0]
    if isinstance(tree, ast.ClassDef):
        return f"({_write_making(tree)})", None
    assert isinstance(tree, ast.FunctionDef)
    is_bound = what == "method" and "staticmethod" not in map(ast.unparse, tree.decorator_list)
    return f"({_write_arguments(tree, is_bound)})", _write_type(tree.returns)


def _is_ours(described: Any) -> bool:
    return str(described.__module__).partition(".")[0] == "unet_exp"


def _write_making(tree: ast.ClassDef) -> str:
    """What a class is built with: the arguments of its `__init__`, or its fields."""
    for part in tree.body:
        if isinstance(part, ast.FunctionDef) and part.name == "__init__":
            return _write_arguments(part, is_bound=True)
    fields = [part for part in tree.body if isinstance(part, ast.AnnAssign)]
    return ", ".join(_write_field(part) for part in fields if "ClassVar" not in ast.unparse(part.annotation))


def _write_field(part: ast.AnnAssign) -> str:
    default = "" if part.value is None else f" = {ast.unparse(part.value)}"
    return f"{ast.unparse(part.target)}: {_write_type(part.annotation)}{default}"


def _write_arguments(tree: ast.FunctionDef, is_bound: bool) -> str:
    given = tree.args
    for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg):
        if argument is not None and isinstance(argument.annotation, ast.Constant):
            argument.annotation = ast.Name(_write_type(argument.annotation) or "")
    if is_bound:
        del (given.posonlyargs or given.args)[0]
    return ast.unparse(given)


def _write_type(annotation: ast.expr | None) -> str | None:
    """A type in words; those in quotes, which stand for later ones, without them."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return annotation.value
    return None if annotation is None else ast.unparse(annotation)
