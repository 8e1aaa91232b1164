"""The page of data sets says what is known of them, and its words train on a replica of each."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import make_replica
import numpy as np
import pytest
from conftest import Said, summary
from replicas import CHAPTERS, DATA_SETS, page

from unet_exp.compose import compose_train
from unet_exp.config import parse
from unet_exp.config.values import IGNORE_LABEL
from unet_exp.data import load_data
from unet_exp.runs.run_folder import RunFolder
from unet_exp.samples.sample import Sample

Cli = Callable[..., Said]

FEWEST = 40
LEAST = 0.3
SMALL = ["model.depth=2", "model.width=4", "data.tile=16", "trainer.max_steps=2", "logger=csv", "metrics.pictures=1"]


@pytest.fixture(scope="module")
def commands() -> dict[str, list[str]]:
    """The words of the page's commands, by the data set that their root names."""
    text = page.PAGE.read_text()
    found = {}
    for block in re.findall(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        python, script, *words = shlex.split(block.replace("\\\n", " "))
        assert (python, script) == ("python", "scripts/train.py")
        (root,) = [word for word in words if word.startswith("data.root=path/to/")]
        found[root.rpartition("/")[2]] = words
    return found


def test_the_page_is_written_from_what_is_known() -> None:
    assert page.PAGE.read_text() == page.render(), "type python scripts/make_replica.py page"


def test_every_data_set_is_on_the_page(commands: dict[str, list[str]]) -> None:
    assert list(commands) == list(DATA_SETS)
    assert len(DATA_SETS) == sum(len(chapter) for chapter in CHAPTERS.values()) >= FEWEST
    for one in DATA_SETS.values():
        told = (one.title, one.address, one.terms, one.citation, one.layout, one.sources, one.oddities)
        assert all(told), one.name


def test_every_link_of_the_list_leads_to_a_heading() -> None:
    text = page.PAGE.read_text()
    headings = re.findall(r"^### (.*)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    links = re.findall(r"\]\(#([^)]*)\)", text)
    assert len(links) == len(anchors) == len(DATA_SETS)
    assert set(links) == anchors


def test_a_replica_is_small_and_written_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_replica.main(["dsb2018", str(tmp_path)])
    assert capsys.readouterr().out == f"{tmp_path / 'dsb2018'}\n"
    assert sum(path.stat().st_size for path in tmp_path.rglob("*")) < 10**6
    with pytest.raises(SystemExit, match="is there already"):
        make_replica.main(["dsb2018", str(tmp_path)])


@pytest.mark.parametrize("words", [[], ["dsb2018"], ["nothing", "here"]])
def test_mistakes(words: list[str]) -> None:
    with pytest.raises(SystemExit, match=r"error: .*the names are all, carvana, "):
        make_replica.main(words)


def explained(sample: Sample) -> float:
    """The share of an image's variance that its label explains, in the channel where it is largest; at most 1."""
    assert sample.label is not None
    known = sample.label != IGNORE_LABEL
    pixels, label = sample.image[known].astype(float), sample.label[known]
    rest = pixels.copy()
    for value in np.unique(label):
        rest[label == value] -= rest[label == value].mean(axis=0)
    return float(1 - (rest.var(axis=0) / pixels.var(axis=0)).min())


@pytest.mark.slow
@pytest.mark.parametrize("name", list(DATA_SETS))
def test_the_words_of_the_page_train(name: str, commands: dict[str, list[str]], cli: Cli, tmp_path: Path) -> None:
    root = tmp_path / "path/to" / name
    DATA_SETS[name].write(root)
    words = commands[name]
    looked = cli("check_data", *words)
    assert looked.code == 0, looked.out + looked.err
    trained = cli("train", *words, *SMALL)
    assert trained.code == 0, trained.out + trained.err
    assert summary(RunFolder(trained.folder))["status"] == "finished"
    # In replicas each class has a colour: masks lie on their images, neither turned nor those of others.
    dataset = load_data(parse(compose_train(words)).data)
    shares = [
        explained(sample)
        for sample in (*dataset.train, *dataset.val, *dataset.test)
        if sample.label is not None and len(np.setdiff1d(sample.label, IGNORE_LABEL)) > 1
    ]
    assert len(shares) > 3
    assert min(shares) > LEAST
