"""The site has every page, and no build passes over a mistake."""

import html
import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from website import markdown
from website.signatures import write_signature

import unet_exp
from unet_exp.augmentation.flips import Unchanged
from unet_exp.augmentation.protocol import Window
from unet_exp.config import Config
from unet_exp.errors import DataError, suggest
from unet_exp.runs.run_folder import RunFolder

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def navigation() -> list[str]:
    """The pages that the navigation names, without their endings."""
    blocks = re.findall(r"^```\{toctree\}\n(.*?)^```$", (DOCS / "index.md").read_text(), re.M | re.S)
    entries = [line for block in blocks for line in block.splitlines() if line and not line.startswith(":")]
    python = re.findall(r"^   ([a-z_]+)$", (DOCS / "python" / "index.rst").read_text(), re.M)
    return [re.sub(r".*<(.*)>", r"\1", entry) for entry in entries] + [f"python/{name}" for name in python]


def test_every_page_stands_in_the_navigation_once():
    pages = [
        page.relative_to(DOCS).with_suffix("") for end in ("md", "rst", "ipynb") for page in DOCS.rglob(f"*.{end}")
    ]
    assert sorted(navigation()) == sorted(set(map(str, pages)) - {"index"})


def test_no_page_has_the_name_of_one_that_sphinx_writes():
    """It would be lost without a word."""
    assert not {"search", "genindex", "py-modindex"} & set(navigation())


@pytest.mark.parametrize(
    ("link", "seen"),
    [
        ("[a](network.md#sizes)", "[a](network.md#sizes)"),
        ("[a](../README.md#results)", "[a](index.md)"),
        ("[a](../CONTRIBUTING.md#tests)", "[a](contributing.md#tests)"),
        ("[a](../conf/train.yaml)", "[a](../conf/train.yaml)"),
        ("[`conf/`](../conf/)", "`conf/`"),
        ("![a](demo.png)", "![a](demo.png)"),
    ],
)
def test_links_that_leave_the_docs_lead_to_pages(link, seen):
    assert markdown.lead_links(f"See {link}.") == f"See {seen}."


def test_links_of_a_top_level_file_are_those_of_the_docs():
    text = "[a](docs/network.md) [b](LICENSE) ![c](docs/demo.png) [d](https://example.org) [e](#tests)"
    moved = "[a](network.md) [b](../LICENSE) ![c](demo.png) [d](https://example.org) [e](#tests)"
    assert markdown.move_links(text) == moved


def test_a_notebook_is_what_it_says_and_has_printed():
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": ["1\n", "2\n"]},
        {"output_type": "display_data", "data": {"image/png": "aGk=\n", "text/plain": ["<Figure>"]}},
        {"output_type": "execute_result", "data": {"text/html": ["<b>3</b>"], "text/plain": ["3"]}},
        {"output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": []},
    ]
    cells = [
        {"cell_type": "markdown", "source": ["# A tour\n", "\n", "Text."]},
        {"cell_type": "code", "source": "print('```')", "outputs": outputs},
        {"cell_type": "code", "source": "%%bash\nls\n", "outputs": []},
    ]
    page = markdown.write_notebook({"cells": cells})
    assert page == "\n\n".join(
        [
            "# A tour\n\nText.",
            "````python\nprint('```')\n````",
            "```text\n1\n2\n```",
            "![What the cell draws](data:image/png;base64,aGk=)",
            "```text\n3\n```",
            "```text\nValueError: no\n```",
            "```bash\nls\n```\n",
        ]
    )


@pytest.mark.parametrize(
    ("what", "described", "signature"),
    [
        ("function", suggest, ("(wanted: str, names: Iterable[str], cutoff: float=0.6, above: str='')", "str")),
        ("method", RunFolder.picture, ("(split: str, image: str)", "Path")),
        ("method", RunFolder.create, ("(parent: Path, name: str, now: datetime | None=None)", "RunFolder")),
        ("class", RunFolder, ("(path: Path)", None)),
        ("class", Window, ("(top: int, left: int, size: int, surround: int = 0)", None)),
        ("class", Unchanged, ("", None)),
        ("exception", DataError, ("(message: str='')", None)),
        ("class", Config, ("", None)),
        ("attribute", RunFolder, None),
        ("class", Path, None),
        ("function", re.compile, None),
    ],
)
def test_a_signature_stands_as_in_the_source(what, described, signature):
    assert write_signature(what, described) == signature


@pytest.mark.parametrize("page", ["paper.md", "results.md", "metrics.md", "glossary.md", "first_hour.md", "compare.md"])
def test_the_first_page_leads_to_what_is_looked_for_first(page):
    table = [line for line in (DOCS / "index.md").read_text().splitlines() if line.startswith("| ")]
    assert f"({page})" in "\n".join(table)


def test_types_in_quotes_are_types():
    arguments, returns = write_signature("function", unet_exp.load)
    assert "inference: InferenceConfig | None=None" in arguments
    assert returns == "Predictor"


SOUND = {
    "index.md": "# Home\n\n```{toctree}\nother\n```\n\n[Sizes](other.md#sizes) and ![a picture](picture.png)\n",
    "other.md": "# Other\n\n## Sizes\n\n```{eval-rst}\n.. autofunction:: unet_exp.errors.suggest\n```\n",
    "picture.png": (DOCS / "demo.png").read_bytes(),
}
ROLE = "\n```{{eval-rst}}\n`{}`\n```\n"


def build(folder: Path, pages: Mapping[str, str | bytes]) -> int:
    """Builds pages with our configuration and the words of `make site`; 0 where all is well."""
    sphinx = pytest.importorskip("sphinx.cmd.build", reason="the extra `site` is not installed")
    flags = re.search(r"^SITE := (.*)$", (ROOT / "Makefile").read_text(), re.M)[1].split()
    (folder / "docs").mkdir()
    for name, content in pages.items():
        (folder / "docs" / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return sphinx.main([*flags, "--conf-dir", str(DOCS), str(folder / "docs"), str(folder / "site")])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
@pytest.mark.parametrize(
    ("page", "mistake", "said"),
    [
        ("other.md", "", ""),
        ("other.md", ROLE.format("unet_exp.errors.suggest"), ""),
        ("other.md", ROLE.format("loss=dice"), ""),
        ("other.md", "[a](nowhere.md)", "nowhere.md"),
        ("other.md", "[a](#nowhere)", "nowhere"),
        ("other.md", "[a](index.md#nowhere)", "nowhere"),
        ("other.md", "[a](../conf/nowhere.yaml)", "nowhere.yaml"),
        ("other.md", "![a](nowhere.png)", "nowhere.png"),
        ("other.md", "### Too deep\n\n##### a level is left out", "header level"),
        ("other.md", "\n```{eval-rst}\n.. autofunction:: unet_exp.nowhere\n```\n", "nowhere"),
        ("other.md", ROLE.format("unet_exp.errors.nowhere"), "unet_exp.errors.nowhere"),
        ("lost.md", "# Lost", "toctree"),
    ],
)
def test_a_build_stops_at_a_mistake(page, mistake, said, tmp_path, capfd):
    failed = build(tmp_path, SOUND | {page: f"{SOUND.get(page, '')}\n{mistake}\n"})
    assert bool(failed) == bool(said)
    printed = "".join(capfd.readouterr())
    assert said in printed if said else not printed


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_docstrings_and_notebooks_are_read_as_we_write_them(tmp_path):
    described = "\n".join(
        [
            ".. autoclass:: unet_exp.metrics.declarations.Metric",
            "   :members: can_choose",
            ".. autoclass:: unet_exp.augmentation.protocol.Window",
            "   :members:",
            ".. autofunction:: unet_exp.metrics.confusion.confusion_matrix",
        ]
    )
    cells = [{"cell_type": "markdown", "source": "# A tour"}, {"cell_type": "code", "source": "1 + 1", "outputs": []}]
    pages = {
        "index.md": f"# Home\n\n```{{toctree}}\ntour\n```\n\n```{{eval-rst}}\n{described}\n```\n",
        "tour.ipynb": json.dumps({"cells": cells}),
    }
    assert build(tmp_path, pages) == 0
    page = html.unescape(re.sub(r"<[^>]*>", "", (tmp_path / "site" / "index.html").read_text()))
    assert "Whether it can choose an epoch: a distance leaves out images whose prediction is empty." in page
    assert "Attributes:" in page
    assert "Alias for field" not in page
    assert "truth: NDArray[np.uint8]" in page
    assert "A tour" in page
    assert "highlight-python" in (tmp_path / "site" / "tour.html").read_text()
