"""Names in docstrings: backticks are code that leads to what it names, and signatures stand as in the source."""

import ast
import inspect
import pkgutil
import re
import textwrap
from typing import Any

from docutils import nodes, utils
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode

_NAME = re.compile(r"[A-Za-z]\w*(\.[A-Za-z]\w*)*(\(\))?")


def add_names(app: Sphinx) -> None:
    """Teaches Sphinx our docstrings; `default_role` must be `name`."""
    app.add_role("name", mark_name)
    app.connect("autodoc-process-signature", write_signature)
    app.connect("missing-reference", resolve_name)


def mark_name(role: str, raw: str, text: str, line: int, inliner: Any, *_: Any) -> tuple[list[Any], list[Any]]:
    """Makes a reference of backticks around a name, and code of all others, such as `loss=dice`."""
    text = utils.unescape(text)
    if not _NAME.fullmatch(text):
        return [nodes.literal(text, text)], []
    env: BuildEnvironment = inliner.document.settings.env
    reference = env.domains.python_domain.role("obj")
    assert reference is not None
    found: tuple[list[Any], list[Any]] = reference("py:obj", raw, text, line, inliner, {}, [])
    return found


def resolve_name(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, shown: nodes.TextElement
) -> nodes.Element | None:
    """Finds a class by its name alone, and lets what is on no page be plain code.

    Names that begin with `unet_exp.`, and errors that a function raises, must exist: where they do not, the answer is
    None, which is an error of a strict build. (Types are checked by mypy.)
    """
    if node.get("refdomain") != "py":
        return None
    target, python = node["reftarget"], env.domains.python_domain
    if target.rpartition(".")[2][:1].isupper():
        found = python.find_obj(env, node.get("py:module"), node.get("py:class"), target, None, 1)
        places = {(entry.docname, entry.node_id) for _, entry in found}
        if len(places) == 1:
            ((page, anchor),) = places
            return make_refnode(app.builder, node["refdoc"], page, anchor, shown, found[0][0])
    if node["reftype"] == "exc" and "." not in target:
        target = f"{node.get('py:module')}.{target}"
    return shown if not target.startswith("unet_exp.") or _exists(target) else None


def _exists(name: str) -> bool:
    try:
        pkgutil.resolve_name(name)
    except (AttributeError, ImportError, ValueError):
        return False
    return True


def write_signature(
    app: Sphinx, what: str, name: str, described: Any, options: Any, arguments: str, returns: str
) -> tuple[str | None, str | None] | None:
    """The signature as in the source, with `NDArray[np.uint8]` and not what that stands for.

    Of a class, its fields if it has no `__init__` of its own.
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


def _write_class(tree: ast.ClassDef) -> str | None:
    """What a class is built with; None where its base classes say that."""
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
