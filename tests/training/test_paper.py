"""The ledger of docs/paper.md is what the experiments run, key by key."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from unet_exp import geometry
from unet_exp.compose import compose_train
from unet_exp.config import Config, parse

PAGE = Path(__file__).resolve().parents[2] / "docs" / "paper.md"
KINDS = ("stated", "assumed", "differs")
TRIPLE = r"\| `(.+)` \| `(.+)` \| `(.+)` \|"
EXPERIMENTS = ("paper_isbi2012", "paper_phc_u373", "paper_dic_hela")
NO_RESULT = {
    "model.name", "model.match", "data.root", "data.download", "data.num_workers", "data.fold", "data.folds",
    "data.cache", "data.max_memory", "data.verify",
    "inference.tile", "augmentation.device", "augmentation.then",
    "inference.batch_size", "inference.context", "inference.blend", "trainer.accelerator", "trainer.devices",
    "trainer.num_nodes", "trainer.peer_timeout",
    "trainer.sync_batchnorm",
    "trainer.deterministic", "trainer.channels_last", "trainer.compile", "trainer.limit_batches", "trainer.overfit",
    "trainer.profiler", "metrics.warping", "metrics.warping_radius", "metrics.pictures", "metrics.own", "seed",
    "metrics.distances", "metrics.tolerance", "metrics.probabilities", "data.pixel_size",
    "name", "output", "init_from", "trust", "callbacks", "resume", "rerun", "trainer.save_every",
}  # fmt: skip
"""Keys that change where, how fast and from which dice a result comes, or how large a data set is."""


def rows(columns: int) -> list[list[str]]:
    """The rows of the page's table of so many columns; code cells without their quotes."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [row for row in cells if len(row) == columns and "`" in "".join(row)]


def unquoted(cell: str) -> str:
    assert re.fullmatch(r"`[^`]+`", cell), cell
    return cell[1:-1]


def leaves(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def composed(experiment: str) -> tuple[Config, dict[str, Any]]:
    config = parse(compose_train([f"experiment={experiment}"]))
    architecture = config.architecture(in_channels=1, classes=2)
    size = geometry.input_for_output(architecture, config.data.tile)
    steps = geometry.layers(architecture, size)
    return config, {
        **leaves(config.model_dump()),
        "input size": size,
        "output size": geometry.output_size(architecture, size),
        "parameters": geometry.parameters(architecture),
        "conv layers": sum(step.kind in ("conv", "up", "head") for step in steps),
    }


SHARED = [(unquoted(row[2]), yaml.safe_load(unquoted(row[3])), row[4], row[1]) for row in rows(5)]
OWN = [(unquoted(row[2]), unquoted(row[3]), yaml.safe_load(unquoted(row[4])), row[5], row[1]) for row in rows(6)]
SMALL = [
    (unquoted(row[0]), unquoted(row[1]), yaml.safe_load(unquoted(row[2]))) for row in rows(3) if "_small" in row[0]
]


def test_the_page_has_its_three_tables():
    assert len(SHARED) > 45
    assert {experiment for experiment, *_ in OWN} == set(EXPERIMENTS)
    assert {experiment for experiment, *_ in SMALL} == {f"{name}_small" for name in EXPERIMENTS}


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_each_row_is_what_the_experiment_runs(experiment):
    _, values = composed(experiment)
    told = [(key, value) for key, value, *_ in SHARED]
    told += [(key, value) for owner, key, value, *_ in OWN if owner == experiment]
    for key, value in told:
        assert key in values, f"{key} is no key of {experiment}"
        assert values[key] == value, f"{experiment}: {key} is {values[key]!r} and the page says {value!r}"


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_no_key_that_could_change_a_result_is_missing(experiment):
    config, _ = composed(experiment)
    told = {key for key, *_ in SHARED} | {key for owner, key, *_ in OWN if owner == experiment}
    keys = {key for key in leaves(config.model_dump()) if not key.startswith("logger.")}
    assert keys - told - NO_RESULT == set()


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_the_small_version_differs_in_what_the_page_says_and_in_nothing_else(experiment):
    _, full = composed(experiment)
    small, _ = composed(f"{experiment}_small")
    keys = leaves(small.model_dump())
    differing = {key: value for key, value in keys.items() if full[key] != value}
    assert differing == {key: value for owner, key, value in SMALL if owner == f"{experiment}_small"}


def test_every_row_has_a_mark_and_the_page_counts_them():
    for told, where, key, kind in [(row[0], row[1], row[-3], row[-1]) for row in (*rows(5), *rows(6))]:
        assert kind in KINDS, key
        if kind == "stated" and key != "`parameters`":
            assert re.match(r"(sec\. \d|fig\. \d)", where), f"{key} is stated, but where?"
        if kind == "differs":
            assert re.match(r"sec\. \d", where), f"{key} differs from what the paper says, but where?"
            assert re.search(r".; here .*\b(since|so that|as) ", told), f"{key} differs: from what, and why?"
        if kind == "assumed":
            assert " here " not in told.split("; ")[0], key
    stated, assumed, differing = (
        sum(f"| {kind} |" in line for line in PAGE.read_text().splitlines()) for kind in KINDS
    )
    counts = f"{stated} rows are stated, {assumed} assumed, {differing} differ."
    assert counts in " ".join(PAGE.read_text().split())


@pytest.mark.parametrize(
    "key",
    ["loss.where", "loss.normalize", "trainer.clip_norm", "trainer.val_every_epochs", "data.split"],
)
def test_what_departs_from_the_paper_is_not_called_an_assumption(key):
    marks = [row[-1] for row in (*rows(5), *rows(6)) if f"`{key}`" in row]
    assert marks
    assert set(marks) == {"differs"}


def test_the_page_lists_how_a_bare_training_differs_from_the_recipe():
    bare, recipe = leaves(parse(compose_train([])).model_dump()), leaves(composed("paper_isbi2012")[0].model_dump())
    both = {key for key in bare.keys() & recipe.keys() if bare[key] != recipe[key]} - {"metrics.warping", "name"}
    table = PAGE.read_text().partition("| | a bare `train.py` |")[2].partition("\n\n")[0]
    told = {key: (yaml.safe_load(first), yaml.safe_load(second)) for key, first, second in re.findall(TRIPLE, table)}
    assert told == {key: (bare[key], recipe[key]) for key in both}


def test_the_blog_run_is_set_as_it_was():
    config = parse(compose_train(["experiment=blog"]))
    assert (config.model.name, config.model.norm, config.model.upsample) == ("pad", "batch", "transposed")
    assert config.architecture(1, 2).out_channels == 1
    assert (config.loss.name, config.optimizer.name, config.optimizer.lr) == ("bce", "adam", 1e-3)
    assert (config.augmentation.name, config.data.batch_size, config.trainer.max_epochs) == ("flips", 1, 40)
    assert (config.data.name, config.data.tile) == ("isbi2012", 512)
    assert leaves(config.model_dump())["data.split"] == "all"
