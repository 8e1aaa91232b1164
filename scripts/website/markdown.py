"""Pages as GitHub shows them, made pages of the site: links that leave `docs/`, and notebooks."""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TOP = {"README.md": "index", "CHANGELOG.md": "changelog", "CONTRIBUTING.md": "contributing"}
"""Files of the repository that are pages of the site."""

_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def move_links(text: str) -> str:
    """The links of a top-level file as they are from `docs/`."""

    def move(found: re.Match[str]) -> str:
        mark, shown, target = found.groups()
        if "://" not in target and not target.startswith("#"):
            target = target.removeprefix("docs/") if target.startswith("docs/") else f"../{target}"
        return f"{mark}[{shown}]({target})"

    return _LINK.sub(move, text)


def lead_links(text: str) -> str:
    """A link to a top-level file leads to its page; one to a folder, which a site cannot show, is its text alone.

    Other files of the repository are copied by Sphinx, to be downloaded.
    """
    return _LINK.sub(_lead_link, text)


def _lead_link(found: re.Match[str]) -> str:
    mark, shown, target = found.groups()
    name, _, anchor = target.removeprefix("../").partition("#")
    if not target.startswith("../"):
        return found[0]
    if name in TOP:
        return f"{mark}[{shown}]({TOP[name]}.md{f'#{anchor}' if anchor and name != 'README.md' else ''})"
    return shown if (ROOT / name).is_dir() else found[0]


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
