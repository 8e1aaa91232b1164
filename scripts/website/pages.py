"""Pages as GitHub shows them, made pages of the site: links that leave `docs/`, and files that are not in it."""

import json
import re
from pathlib import Path
from typing import Any

from myst_parser.parsers.sphinx_ import MystParser
from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]
TOP = {"README.md": "index", "CHANGELOG.md": "changelog", "CONTRIBUTING.md": "contributing"}
"""Files of the repository that are pages of the site."""

_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def add_pages(app: Sphinx) -> None:
    """Teaches Sphinx the links of our Markdown, and notebooks."""
    app.connect("source-read", read_page)
    app.add_source_suffix(".ipynb", "notebook")
    app.add_source_parser(NotebookParser)


def read_page(app: Sphinx, name: str, content: list[str]) -> None:
    """Puts a top-level file in the place of the page that stands for it, and leads links to pages of the site."""
    for file, page in TOP.items():
        if page == name != "index":
            content[0] = move_links((ROOT / file).read_text())
            app.env.note_dependency(ROOT / file)
    content[0] = _LINK.sub(_lead_link, content[0])


def move_links(text: str) -> str:
    """The links of a top-level file as they are from `docs/`."""

    def move(found: re.Match[str]) -> str:
        mark, shown, target = found.groups()
        if "://" not in target and not target.startswith("#"):
            target = target.removeprefix("docs/") if target.startswith("docs/") else f"../{target}"
        return f"{mark}[{shown}]({target})"

    return _LINK.sub(move, text)


def _lead_link(found: re.Match[str]) -> str:
    """A link to a top-level file leads to its page; one to a folder, which a site cannot show, is its text alone.

    Other files of the repository are copied by Sphinx, to be downloaded.
    """
    mark, shown, target = found.groups()
    name, _, anchor = target.removeprefix("../").partition("#")
    if not target.startswith("../"):
        return found[0]
    if name in TOP:
        return f"{mark}[{shown}]({TOP[name]}.md{f'#{anchor}' if anchor and name != 'README.md' else ''})"
    return shown if (ROOT / name).is_dir() else found[0]


class NotebookParser(MystParser):
    """Notebooks as they were run: text, code, and what it printed and drew. Nothing is run."""

    supported = ("notebook",)

    def parse(self, inputstring: str, document: Any) -> None:
        """Fills the document."""
        super().parse(write_notebook(json.loads(inputstring)), document)


def write_notebook(notebook: dict[str, Any]) -> str:
    """The Markdown of a notebook."""
    blocks = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            blocks.append(source)
        elif cell["cell_type"] == "code":
            language, _, rest = source.partition("\n")
            is_shell = language.startswith(("%%bash", "%%sh"))
            blocks.append(_fence("bash" if is_shell else "python", rest if is_shell else source))
            blocks += [_write_output(output) for output in cell["outputs"]]
    return "\n\n".join(blocks) + "\n"


def _write_output(output: dict[str, Any]) -> str:
    """What a cell printed, its error, or the best of the forms of its result that a page can show."""
    if output["output_type"] == "stream":
        return _fence("text", "".join(output["text"]))
    if output["output_type"] == "error":
        return _fence("text", f"{output['ename']}: {output['evalue']}")
    forms = output["data"]
    if "image/png" in forms:
        return f"![What the cell draws](data:image/png;base64,{''.join(forms['image/png'].split())})"
    return _fence("text", "".join(forms.get("text/plain", "")))


def _fence(language: str, text: str) -> str:
    marks = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{marks}{language}\n{text.rstrip()}\n{marks}"
