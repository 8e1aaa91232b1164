"""Files of the user's own: each mistake in one is one line with its path and the mend, and none is read in silence."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unet_exp.cli.command import read_command
from unet_exp.config import Config
from unet_exp.errors import ConfigError

GLOBAL = "# @package _global_\n"


def write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def defaults(*entries: str) -> str:
    return f"{GLOBAL}defaults:\n" + "".join(f"  - {entry}\n" for entry in entries)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        # The package.
        ("optimizer: {lr: 0.1}\n", ": write '# @package _global_' in its first line"),
        ("", ": write '# @package _global_' in its first line"),
        ("# @package: _global_\nseed: 1\n", ": write '# @package _global_' in its first line"),
        # The defaults list.
        (defaults("/model: same"), ": in its defaults write '- override /model: same' in place of '- /model: same'"),
        (defaults("model: same"), ": in its defaults write '- override /model: same' in place of '- model: same'"),
        (defaults("override model: same"), ": in its defaults write '- override /model: same' in place of '- override"),
        (defaults("override /model same"), ": '- override /model same' in its defaults lacks its colon"),
        (defaults("/experiment: small"), ": in its defaults write '- small' in place of '- /experiment: small'"),
        (defaults("/small"), ": '- /small' in its defaults names no group"),
        (defaults("override /modle: same"), ": there is no group modle; choose one of augmentation, "),
        (
            defaults("override /model: smae"),
            ": model=smae: no such option; choose one of custom, encoder, pad, release, same",
        ),
        (defaults("override /hydra/launcher: jobli"), ": hydra/launcher=jobli: no such option; choose one of basic"),
        (defaults("smal"), ": experiment=smal: no such option; choose one of "),
        (defaults("mine"), ": its defaults lead back to itself"),
        (defaults("override /model: same", "small"), ": Override 'model : same' is defined before "),
        (f"{GLOBAL}defaults: small\n", ": its defaults must be a list: begin each with '- '"),
        # The keys.
        (
            f"{GLOBAL}optimizer: {{rate: 1}}\n",
            ": unknown key optimizer.rate: optimizer=adam has the keys name, lr, betas",
        ),
        (
            f"{GLOBAL}optimiser: {{lr: 1}}\n",
            ": unknown key optimiser (did you mean optimizer?): the top-level keys are model",
        ),
        (f"{GLOBAL}hello\n", ": unknown key hello: the top-level keys are model"),
        (f"{GLOBAL}model.depth: 3\n", ": unknown key model.depth; in a file, keys are nested: 'model: {depth: 4}'"),
        (
            f"{GLOBAL}sweep: {{reprt: false}}\n",
            ": unknown key sweep.reprt (did you mean sweep.report?): sweep has the keys resume, report",
        ),
        (f"{GLOBAL}search: {{trials: 3}}\n", ": unknown key search.trials: it is of search=optuna, type that too"),
        (f"{GLOBAL}trainer: {{logger: false}}\n", ": unknown key trainer.logger (did you mean logger=csv, without"),
        (f"{GLOBAL}hydra: {{job: {{chdir: true}}}}\n", ": hydra.job.chdir has no effect"),
        (f"{GLOBAL}hydra: {{launcher: {{n_jobs: 2}}}}\n", ": hydra.launcher.n_jobs: Key 'n_jobs' not in"),
        # The values.
        (f"{GLOBAL}optimizer: {{lr: fast}}\n", ": optimizer.lr='fast': should be a valid number"),
        (f"{GLOBAL}optimizer: 3\n", ": optimizer=3: it must hold keys with their values"),
        (f"{GLOBAL}optimizer: [3]\n", ": a list stands where keys belong"),
        (f"{GLOBAL}name: ${{nothing}}\n", ": name: Interpolation key 'nothing' not found"),
        (f"{GLOBAL}data: ${{nothing}}\n", ": data: Interpolation key 'nothing' not found"),
        (f"{GLOBAL}name: ${{x\n", ": name: "),
        # The text.
        (f"{GLOBAL}optimizer: {{lr: 0.1\nseed: 3\n", ", line 3: it is not valid YAML: expected ',' or '}'"),
        (f"{GLOBAL}seed: 1\nseed: 2\n", ", line 3: it is not valid YAML: found duplicate key seed"),
        (f"{GLOBAL}optimizer:\n\tlr: 3\n", ", line 3: it is not valid YAML: found character"),
        (
            f'{GLOBAL}data: {{group: "^p\\d+"}}\n',
            ", line 2: it is not valid YAML: found unknown escape character 'd'; a regular expression stands in single",
        ),
        (f"{GLOBAL}- seed\n", ": it must hold keys with their values"),
        (f"{GLOBAL}name: caf\xe9\n".encode("latin1"), ": it is no text in UTF-8"),
    ],
)
def test_a_mistake_in_an_experiment(tmp_path: Path, text: str | bytes, part: str) -> None:
    path = write(tmp_path, "experiment/mine", text)
    with pytest.raises(ConfigError, match=f"^{re.escape(f'{path}{part}')}") as caught:
        read_command(["experiment=mine", "debug=fast"], str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "part"), [("seed: 1\n", ": write '# @"), (f"{GLOBAL}sed: 1\n", ": unknown key sed")])
def test_a_mistake_in_an_experiment_of_a_sweep(tmp_path: Path, text: str, part: str) -> None:
    path = write(tmp_path, "experiment/mine", text)
    with pytest.raises(ConfigError, match=f"^{re.escape(f'{path}{part}')}"):
        read_command(["experiment=small,mine", "seed=0,1"], str(tmp_path), multirun=True)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (
            "defaults: [folder, _self_]\nname: folder\nimagse: x\n",
            ": unknown key data.imagse (did you mean data.images?): data=folder has the keys",
        ),
        ("images: x\n", ": the key data.name is missing; its defaults can begin with an option that has it: 'defaults"),
        (
            "name: folder\n",
            ": the key data.tile is missing; its defaults can begin with an option that has it: 'defaul",
        ),
        (f"{GLOBAL}name: folder\n", ": the key data.name is missing; take out '# @package _global_'"),
        ("defaults: [folder, _self_]\nname: mine\n", ": data.name='mine': should be one of 'synthetic', "),
        (f"{GLOBAL}data: 3\n", ": data=3: it must hold keys with their values"),
        ("defaults: [foldr, _self_]\nname: folder\n", ": data=foldr: no such option; choose one of "),
    ],
)
def test_a_mistake_in_a_data_set(cli: Callable[..., Any], tmp_path: Path, text: str, part: str) -> None:
    path = write(tmp_path / "own", "data/mine", text)
    for entry in ("check_data", "train"):
        said = cli(entry, "data=mine", "--config-dir", str(tmp_path / "own"), "seed=1")
        assert said.mistake.startswith(f"{path}{part}")


def test_what_is_typed_is_no_mistake_of_a_file(tmp_path: Path) -> None:
    write(tmp_path, "experiment/mine", f"{GLOBAL}optimizer: {{lr: 0.1}}\n")
    with pytest.raises(ConfigError, match=r"^optimizer\.lr='fast': should be"):
        read_command(["experiment=mine", "optimizer.lr=fast"], str(tmp_path))
    # A value that is to be typed is no mistake of the shipped file either.
    with pytest.raises(ConfigError, match=r"^loss\.target='': "):
        read_command(["loss=custom"])


@pytest.mark.parametrize("name", ["experiment/small", "data/folder", "data/_base", "train"])
def test_a_name_of_a_shipped_file_is_refused(cli: Callable[..., Any], tmp_path: Path, name: str) -> None:
    """It would be ignored: `conf/` is searched first."""
    path = write(tmp_path / "own", name, f"{GLOBAL}seed: 7\n")
    write(tmp_path / "own", "experiment/mine", f"{GLOBAL}seed: 5\n")
    for entry, *words in (("train", "experiment=small"), ("train", "experiment=mine", "--help"), ("check_data",)):
        mistake = cli(entry, *words, "--config-dir", str(tmp_path / "own")).mistake
        assert mistake == f"{path}: conf/ has a file of this name too, which would be read in its place; rename yours"


def test_a_group_and_a_folder_of_their_own(tmp_path: Path) -> None:
    write(tmp_path, "preset/quick", f"{GLOBAL}trainer: {{max_steps: 7}}\n")
    write(tmp_path, "experiment/liver/deep", defaults("/experiment/small", "override /fusion: add"))
    config = read_command(["+preset=quick", "experiment=liver/deep"], str(tmp_path))
    assert isinstance(config, Config)
    assert (config.trainer.max_steps, config.fusion.name, config.model.depth) == (7, "add", 4)
    with pytest.raises(ConfigError, match="preset=quik: no such option; choose one of quick"):
        read_command(["+preset=quik"], str(tmp_path))
    (tmp_path / "output").mkdir()  # not every folder beside them is a group
    assert isinstance(read_command(["output=here"], str(tmp_path)), Config)


OWN_MODEL = """
defaults: [custom, _self_]
target: tiny.Tiny
step: 4
"""


@pytest.mark.parametrize(
    ("base", "text", "words", "chosen"),
    [
        # A choice in a file wins over what its base sets for another option, as a typed one does.
        ("model: {depth: 3}\n", defaults("base", "override /model: tiny", "override /loss: focal"), [], "custom focal"),
        ("", defaults("small", "override /model: tiny"), [], "custom cross_entropy"),
        ("logger: {project: x, tags: [a]}\n", defaults("base", "override /logger: csv"), [], "valid cross_entropy"),
        ("logger: {project: x}\n", defaults("base"), ["logger=[tensorboard]"], "valid cross_entropy"),
        (
            "defaults: [override /search: optuna]\nsearch: {trials: 3}\n",
            defaults("base"),
            ["search=none"],
            "valid cross_entropy",
        ),
        # The fusion that a recipe has chosen is of its own network.
        ("defaults: [small, override /fusion: add]\n", defaults("base"), ["model=tiny"], "custom cross_entropy"),
        ("defaults: [override /fusion: add]\n", defaults("base", "override /model: tiny"), [], "custom cross_entropy"),
        ("defaults: [override /model: tiny]\n", defaults("base"), ["model=same", "fusion=add"], "same cross_entropy"),
    ],
)
def test_a_choice_wins_over_the_recipe_below_it(
    tmp_path: Path, base: str, text: str, words: list[str], chosen: str
) -> None:
    write(tmp_path, "model/tiny", OWN_MODEL)
    write(tmp_path, "experiment/base", f"{GLOBAL}{base or 'seed: 1'}")
    write(tmp_path, "experiment/mine", text)
    config = read_command(["experiment=mine", *words], str(tmp_path))
    assert isinstance(config, Config)
    assert f"{config.model.name} {config.loss.name}" == chosen


@pytest.mark.parametrize(
    ("text", "words", "part"),
    [
        (
            f"{defaults('base', 'override /logger: csv')}logger: {{tags: [b]}}\n",
            [],
            ": unknown key logger.tags: it is of logger=wandb, type that too; logger=csv has the keys name",
        ),
        (f"{defaults('base', 'override /model: tiny')}model: {{depth: 3}}\n", [], "model.depth is of the U-Net"),
        (f"{defaults('base', 'override /model: tiny', 'override /fusion: add')}", [], "fusion=add is of the U-Net"),
        (defaults("base"), ["model=tiny", "fusion=add"], "fusion=add is of the U-Net"),
        # What is no group of keys at all.
        (f"{defaults('small', 'override /fusion: add')}model: 3\n", ["model=tiny"], "mine.yaml: model=3: it must hold"),
        (f"{defaults('small')}fusion: 3\n", ["fusion=add", "model=tiny"], "mine.yaml: fusion=3: it must hold keys"),
        (f"{defaults('small')}data: ${{nothing}}\n", ["data=folder"], "mine.yaml: data: Interpolation key 'nothing'"),
    ],
)
def test_what_the_choosing_file_or_the_user_sets_stays(tmp_path: Path, text: str, words: list[str], part: str) -> None:
    write(tmp_path, "model/tiny", OWN_MODEL)
    write(tmp_path, "experiment/base", f"{GLOBAL}logger: {{tags: [a], group: g}}\n")
    write(tmp_path, "experiment/mine", text)
    with pytest.raises(ConfigError) as caught:
        read_command(["experiment=mine", *words], str(tmp_path))
    assert part in str(caught.value)
    assert not str(caught.value).endswith("group")
