"""CHANGELOG, CONTRIBUTING, CITATION.cff and Dockerfile say what pyproject.toml, Makefile and unet_exp/ say."""

import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import unet_exp

ROOT = Path(__file__).resolve().parents[2]
DECLARED: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT: dict[str, Any] = DECLARED["project"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_one_version_is_said_everywhere():
    newest = re.findall(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]
    assert newest == cited == unet_exp.__version__ == PROJECT["version"]


def test_the_authors_are_those_of_the_license():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    holder = re.search(r"Copyright \(c\) \d+ (.+)", (ROOT / "LICENSE").read_text())
    assert holder is not None
    assert [author["name"].lower() for author in cited["authors"]] == [holder[1].lower()]
    assert cited["license"] == PROJECT["license"]


def test_every_room_is_told_from_the_top():
    rooms = [
        name
        for first in re.findall(r"^\| (`.+?) \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
        for name in re.findall(r"`(\w+)`", first)
    ]
    assert set(rooms) == {path.parent.name for path in (ROOT / "unet_exp").glob("*/__init__.py")}
    layers = DECLARED["tool"]["importlinter"]["contracts"][0]["layers"]
    floors = {name: floor for floor, layer in enumerate(layers) for name in layer.split(" | ")}
    assert rooms == sorted(rooms, key=lambda room: floors[f"unet_exp.{room}"])


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "README.md", "docs/notebook.ipynb"])
def test_every_target_of_make_is_there(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = (ROOT / page).read_text()
    blocks = "\n".join(re.findall(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    named = re.findall(r"^make ((?:[a-z-]+ ?)+)", blocks, re.MULTILINE) + re.findall(r"`make ([a-z -]+)`", text)
    assert named
    assert {word for words in named for word in words.split()} <= targets


def test_the_commands_can_be_started_by_their_path():
    scripts, modules = ({path.stem for path in ROOT.glob(f"{place}/*.py")} for place in ("scripts", "unet_exp/cli"))
    commands = scripts & modules
    assert {"train", "check_data", "predict"} <= commands
    for name in commands:
        script = ROOT / "scripts" / f"{name}.py"
        assert script.read_text().startswith("#!/usr/bin/env python3\n")
        assert os.access(script, os.X_OK)


def copied() -> list[str]:
    """What the Dockerfile copies from the checkout."""
    return [name for line in re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE) for name in line.split()]


def test_the_image_has_all_that_the_package_is_built_of():
    wheel = DECLARED["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {"pyproject.toml", "constraints.txt", PROJECT["readme"], *PROJECT["license-files"]}
    assert set(copied()) == needed | {*wheel["packages"], *wheel["force-include"]}


def test_only_what_is_copied_is_sent_to_the_builder():
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert sorted(rule.removeprefix("!") for rule in rules if rule.startswith("!")) == sorted(copied())


def test_the_image_asks_for_extras_and_a_command_that_exist():
    extras = re.search(r"^ARG EXTRAS=(.+)$", DOCKERFILE, re.MULTILINE)
    command = re.search(r'^CMD \["([^"]+)"', DOCKERFILE, re.MULTILINE)
    assert extras is not None
    assert command is not None
    assert set(extras[1].split(",")) <= set(PROJECT["optional-dependencies"])
    assert command[1] in PROJECT["scripts"]


def test_the_image_runs_as_a_user_without_rights():
    users = re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)
    assert users
    assert all(user.isdigit() and int(user) > 0 for user in users)
