"""Signatures as they stand in the source."""

import ast
import inspect
import textwrap
from typing import Any


def write_signature(what: str, described: Any) -> tuple[str, str | None] | None:
    """The signature as in the source, with `NDArray[np.uint8]` and not what that stands for.

    Of a class, its fields if it has no `__init__` of its own.

    Args:
        what: `class`, `exception`, `function`, `method`, or another word of autodoc.
        described: what is documented.

    Returns:
        The arguments in brackets, and the type that is returned; None where there is no source of ours.
    """
    if what not in ("class", "exception", "function", "method") or not described.__module__.startswith("unet_exp"):
        return None
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(described)))).body[0]
    except (OSError, SyntaxError, TypeError):
        return None
    if isinstance(tree, ast.ClassDef):
        return _write_class(tree), None
    if not isinstance(tree, ast.FunctionDef):
        return None
    is_bound = what == "method" and "staticmethod" not in map(ast.unparse, tree.decorator_list)
    return f"({_write_arguments(tree, is_bound)})", _write_type(tree.returns)


def _write_class(tree: ast.ClassDef) -> str:
    """What a class is built with; nothing where its base classes say that."""
    for part in tree.body:
        if isinstance(part, ast.FunctionDef) and part.name == "__init__":
            return f"({_write_arguments(part, is_bound=True)})"
    makers = {ast.unparse(maker).partition("(")[0] for maker in (*tree.decorator_list, *tree.bases)}
    if not makers & {"dataclass", "NamedTuple"}:
        return ""
    fields = [part for part in tree.body if isinstance(part, ast.AnnAssign)]
    return f"({', '.join(_write_field(part) for part in fields)})"


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
