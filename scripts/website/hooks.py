"""An extension of Sphinx for our docstrings and our Markdown; `default_role` must be `name`.

Backticks in docstrings are code, which leads to what it names; signatures stand as in the source; links that leave
`docs/` lead to pages of the site; notebooks are pages.
"""

import json
import pkgutil
import re
from typing import Any

from docutils import nodes, utils
from myst_parser.parsers.sphinx_ import MystParser
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.domains.python import PyObject  # type: ignore[attr-defined]
from sphinx.environment import BuildEnvironment
from sphinx.ext.napoleon.docstring import GoogleDocstring
from sphinx.util.nodes import make_refnode

from unet_exp.augmentation.protocol import Window
from website.markdown import ROOT, TOP, lead_links, move_links, write_notebook
from website.signatures import write_signature

_FIELD = type(Window.top)
"""A field of a `NamedTuple`: its class tells what it is, and itself only its number."""
_NAME = re.compile(r"[A-Za-z]\w*(\.[A-Za-z]\w*)*(\(\))?")


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_role("name", mark_name)
    app.connect("autodoc-process-signature", lambda _, what, __, described, *___: write_signature(what, described))
    app.connect("autodoc-process-docstring", read_docstring, priority=400)
    app.connect("autodoc-skip-member", lambda _, __, ___, member, *____: isinstance(member, _FIELD) or None)
    app.connect("missing-reference", resolve_name)
    app.connect("source-read", read_page)
    app.add_source_suffix(".ipynb", "notebook")
    app.add_source_parser(NotebookParser)
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def read_docstring(app: Sphinx, what: str, name: str, described: Any, options: Any, lines: list[str]) -> None:
    """Reads the sections of properties and attributes, in which Napoleon takes the words before a colon for a type."""
    if what in ("attribute", "data", "property"):
        # After an empty comment Napoleon, whose turn is later, leaves them as they are.
        lines[:] = ["..", "", *GoogleDocstring(lines, app.config, app, "method", name, described, options).lines()]


def mark_name(_: str, raw: str, text: str, line: int, inliner: Any, *__: Any) -> tuple[list[Any], list[Any]]:
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


def read_page(app: Sphinx, name: str, content: list[str]) -> None:
    """Puts a top-level file in the place of the page that stands for it, and leads links to pages of the site."""
    for file, page in TOP.items():
        if page == name != "index":
            content[0] = move_links((ROOT / file).read_text())
            app.env.note_dependency(ROOT / file)
    content[0] = lead_links(content[0])


class NotebookParser(MystParser):
    """Notebooks as they were run: text, code, and what it printed and drew. Nothing is run."""

    supported = ("notebook",)

    def parse(self, inputstring: str, document: Any) -> None:
        """Fills the document."""
        super().parse(write_notebook(json.loads(inputstring)), document)
