"""README.md, docs/first_hour.md and docs/your_configs.md: what they say to type, typed in their order."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TINY, Said, summary
from make_micrographs import make_micrographs

from unet_exp.io.images import read_image
from unet_exp.runs.run_folder import RunFolder

ROOT = Path(__file__).resolve().parents[2]
SMALL = [word for word in TINY if not word.startswith("data.")]
MOST_WORDS = 900

Cli = Callable[..., Said]


def read(name: str) -> str:
    return (ROOT / name).read_text()


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def section(text: str, title: str) -> str:
    return text.partition(f"\n## {title}")[2].partition("\n## ")[0]


def commands(text: str) -> list[list[str]]:
    """The words behind `python scripts/`, of each such line."""
    lines = "".join(blocks(text, "bash")).splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("python scripts/")]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "scans"
    make_micrographs(folder)
    return folder


@pytest.fixture
def scans(made: Path, tmp_path: Path) -> None:
    """`scans` lies in the working directory."""
    (tmp_path / "scans").symlink_to(made)


def test_the_readme_is_short() -> None:
    text = re.sub(r"^```.*?^```$", "", read("README.md"), flags=re.MULTILINE | re.DOTALL)
    assert len(text.split()) <= MOST_WORDS


@pytest.mark.usefixtures("scans")
def test_own_images_become_masks(cli: Cli, tmp_path: Path) -> None:
    """The section of the page, but for its first line, which the fixture has followed."""
    folder = tmp_path
    make, *typed = commands(section(read("docs/first_hour.md"), "Your own images"))
    assert make == ["scripts/make_micrographs.py", "scans"]
    for script, *words in typed:
        words = [word.replace("outputs/train/<run>", str(folder)) for word in words]
        said = cli(Path(script).stem, *words, *(SMALL if "train.py" in script else []))
        assert said.code == 0, said
        if "train.py" in script:
            folder = said.folder
    assert summary(RunFolder(folder))["status"] == "finished"
    for new in (tmp_path / "scans/new").iterdir():
        mask = read_image(tmp_path / "masks" / f"{new.stem}_mask.png")
        assert mask.shape[:2] == read_image(new).shape[:2]
        assert set(mask.ravel().tolist()) <= {0, 255}


def test_the_page_and_the_readme_train_with_the_same_words() -> None:
    pages = [section(read(name), "Your own images") for name in ("README.md", "docs/first_hour.md")]
    one, other = (next(words for words in commands(page) if words[0] == "scripts/train.py") for page in pages)
    assert set(one) <= set(other)


@pytest.mark.usefixtures("scans")
@pytest.mark.parametrize(
    ("page", "title"),
    [("README.md", "An experiment of your own"), ("docs/your_configs.md", "A file for an experiment")],
)
def test_an_experiment_of_ones_own(page: str, title: str, cli: Cli, tmp_path: Path) -> None:
    text = section(read(page), title)
    (experiment,) = blocks(text, "yaml")
    assert experiment.startswith("# @package _global_\n")
    (tmp_path / "mine/experiment").mkdir(parents=True)
    (tmp_path / "mine/experiment/tissue.yaml").write_text(experiment)
    script, *words = commands(text)[0]
    said = cli(Path(script).stem, *words, *SMALL)
    kept = summary(RunFolder(said.folder))
    assert kept["status"] == "finished"
    assert {"test/iou/membrane", "test/iou/cell"} <= set(kept["metrics"])
    assert said.folder.name.endswith("_tissue")


@pytest.mark.usefixtures("scans")
def test_an_option_of_ones_own(cli: Cli, tmp_path: Path) -> None:
    text = section(read("docs/your_configs.md"), "A file for a data set")
    (tmp_path / "mine/data").mkdir(parents=True)
    (tmp_path / "mine/data/tissue.yaml").write_text(blocks(text, "yaml")[0])
    ((script, *words),) = commands(text)
    said = cli(Path(script).stem, *words, "--cfg", "job", "-p", "data")
    assert said.code == 0
    assert "tile: 128" in said.out
    assert "images: scans/images" in said.out


def test_a_folder_that_is_there_is_not_written_to(tmp_path: Path) -> None:
    import make_micrographs as script

    with pytest.raises(SystemExit, match="is there already"):
        script.main([str(tmp_path)])
    with pytest.raises(SystemExit, match="type the folder"):
        script.main([])
    assert not list(tmp_path.iterdir())
