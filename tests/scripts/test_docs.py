"""The pages cannot drift: what they print is printed again, what they show exists, what draws them draws."""

import contextlib
import importlib.util
import io
import re
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from drawings import board, diagram
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$(?:\n+```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
SMALL = 0.25
PAPER = {"weight_map.png", "deformation.png", "tiles.png", "augmentation.png"}
VARIANTS = {"attention.png", "residual.png", "deep_supervision.png"}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw_docs", ROOT / "scripts" / "draw_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(code: str, session: dict[str, Any]) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, session)
    return printed.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "fewest"), [("network", 11), ("compare", 1)])
def test_a_page_prints_what_it_says(name, fewest):
    torch.manual_seed(0)
    page = (ROOT / "docs" / f"{name}.md").read_text()
    blocks = BLOCK.findall(page)
    assert page.count("```python") == len(blocks) >= fewest
    assert page.count("```text") == sum(bool(said) for _, said in blocks)
    session: dict[str, Any] = {}
    for code, said in blocks:
        printed = run(code, session)
        assert [line.rstrip() for line in printed.splitlines()] == said.splitlines(), code


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_is_one_that_a_shell_reads(page):
    """Brackets of ranges and globs want quotes."""
    blocks = re.findall(r"^```bash\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    script = re.sub(r"<[a-z]+>", "placeholder", "\n".join(blocks))
    checked = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_data_of_ones_own_come_with_their_folder(page):
    blocks = re.findall(r"^```bash\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    for command in "\n".join(blocks).replace("\\\n", " ").splitlines():
        for word in re.findall(r"(?<!\S)data=(\w+)", command):
            assert (ROOT / "conf" / "data" / f"{word}.yaml").exists() or "--config-dir" in command, command


def headings(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    lines = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for link in LINK.findall(re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)):
        if "://" in link or link.startswith("mailto:"):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in headings(target), link


@pytest.mark.slow
def test_every_picture_is_drawn_and_not_empty(script, tmp_path):
    script.draw_docs(tmp_path, SMALL)
    drawn = {path.name for path in tmp_path.iterdir()}
    assert drawn == {"network.png", "fusion.png", "fcn.png", "mirrored_tile.png", "synthetic.png", *PAPER, *VARIANTS}
    for name in drawn:
        assert_not_empty(tmp_path / name)
        kept = Image.open(ROOT / "docs" / name)
        assert 800 <= kept.width <= 1700
        assert (ROOT / "docs" / name).stat().st_size < 150_000


def assert_not_empty(path: Path) -> None:
    pixels = np.asarray(Image.open(path).convert("L"))
    assert pixels.shape[1] > 100
    assert 0.01 < np.mean(pixels < 200) < 0.99
    assert len(np.unique(pixels)) > 3


@pytest.mark.parametrize(
    "words",
    [
        {"padding": "same", "align": "exact", "width": 16, "norm": "batch"},
        {"padding": "same", "align": "pad", "fusion": "add", "depth": 3},
        {"fusion": "none", "depth": 2, "upsample": "bilinear"},
        {"depth": 1},
        {"fusion": "attention", "block": "residual", "norm": "batch", "deep_supervision": True},
        {"fusion": "none", "block": "residual", "padding": "same", "align": "pad", "width": 8},
        {"relu_after_upsample": True, "keep_last_upsample_channels": True},
    ],
    ids=lambda words: " ".join(f"{key}={word}" for key, word in words.items()),
)
def test_any_network_can_be_drawn(words, tmp_path):
    architecture = diagram.replace(diagram.PAPER, **words)
    size = 103 if architecture.align == "pad" else diagram.input_for_output(architecture, 64)
    diagram.draw_network(architecture, size, tmp_path / "network.png", 40)
    assert_not_empty(tmp_path / "network.png")


def test_a_run_becomes_two_small_pictures(script, tmp_path):
    ramp = np.tile(np.linspace(0, 255, 1600).astype(np.uint8)[None, :, None], (80, 1, 3))
    (tmp_path / "predictions").mkdir()
    Image.fromarray(ramp).save(tmp_path / "predictions" / "test_a.png")
    Image.fromarray(ramp[:, :300]).save(tmp_path / "curves.png")
    script.draw_demo(tmp_path, tmp_path / "docs")
    assert Image.open(tmp_path / "docs" / "demo.png").size == (1200, 60)
    assert Image.open(tmp_path / "docs" / "demo_curves.png").size == (300, 80)


def test_a_large_picture_is_made_small_enough(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 250, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    board.shrink_picture(tmp_path / "noise.png", tmp_path / "small.png", limit=2_500)
    assert (tmp_path / "small.png").stat().st_size <= 2_500
    assert Image.open(tmp_path / "small.png").width == 150


def test_a_run_without_predictions_is_told(script, tmp_path):
    with pytest.raises(SystemExit, match="holds no PNG"):
        script.draw_demo(tmp_path, tmp_path / "docs")
    with pytest.raises(SystemExit, match="run=<folder of a run>"):
        script.main(["runs=x"])
    assert not (tmp_path / "docs").exists()


def test_a_picture_keeps_its_colours(tmp_path):
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, 4:] = (255, 225, 26)
    board.save_picture(pixels, tmp_path / "new" / "picture.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "new" / "picture.png").convert("RGB")), pixels)
