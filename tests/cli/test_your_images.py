"""The recipe "Classes" of docs/your_images.md, word by word: colours, a rare class and an ignored one."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from coloured import CLASSES, UNKNOWN, coloured_set
from conftest import Said, summary

from unet_exp.io.images import read_image
from unet_exp.runs.run_folder import RunFolder

PAGE = Path(__file__).resolve().parents[2] / "docs/your_images.md"
CHECK, CHECK_CLASSES, TRAIN, PREDICT = range(4)


@pytest.fixture(scope="module")
def recipe() -> tuple[str, list[list[str]]]:
    """The YAML of the recipe, and the words of its commands."""
    text = PAGE.read_text().partition("\n## Classes\n")[2].partition("\n### ")[0]
    blocks = dict.fromkeys(("yaml", "bash"), "")
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        blocks[language] += block
    return blocks["yaml"], [shlex.split(line, comments=True) for line in blocks["bash"].splitlines()]


Run = Callable[..., list[Said]]


@pytest.fixture
def follow(recipe: tuple[str, list[list[str]]], cli: Callable[..., Said], tmp_path: Path) -> Run:
    """Follows the recipe's commands in order; `follow("loss=focal")` adds words to the training alone."""

    def run(*words: str) -> list[Said]:
        yaml, commands = recipe
        (tmp_path / "mine/data").mkdir(parents=True)
        (tmp_path / "mine/data/tissue.yaml").write_text(yaml)
        coloured_set(tmp_path / "scans")
        coloured_set(tmp_path / "elsewhere", count=4, seed=1)
        (tmp_path / "elsewhere/images").rename(tmp_path / "new_scans")
        said: list[Said] = []
        for number, (python, script, *typed) in enumerate(commands):
            assert python == "python"
            if number == PREDICT:
                typed = [word.replace("outputs/train/<run>", str(said[TRAIN].folder)) for word in typed]
            said.append(cli(Path(script).stem, *typed, *(words if number == TRAIN else [])))
        return said

    return run


@pytest.mark.slow
def test_the_recipe_in_two_steps(follow: Run, tmp_path: Path) -> None:
    said = follow("trainer.max_steps=2", "model.depth=2", "model.width=4", "logger=csv")
    assert said[CHECK].code == 2  # black and white are expected, and there are colours
    assert all(str(list(color)) in said[CHECK].out for color in (*CLASSES.values(), UNKNOWN))
    assert said[CHECK_CLASSES].code == 0
    assert "buoy" in said[CHECK_CLASSES].out
    metrics = summary(RunFolder(said[TRAIN].folder))["metrics"]
    assert [name for name in metrics if name.startswith("test/iou/")] == [
        *(f"test/iou/{name}" for name in CLASSES),
        "test/iou/mean",
    ]
    assert said[PREDICT].code == 0
    for path in (tmp_path / "new_scans").iterdir():
        mask = read_image(tmp_path / "new_masks" / f"{path.stem}_mask.png")
        assert {tuple(color) for color in mask.reshape(-1, 3).tolist()} <= set(CLASSES.values())


@pytest.mark.slow
def test_the_recipe_finds_every_class_of_new_images(
    follow: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = follow("logger=csv", "model.width=8", "model.depth=3")
    metrics = summary(RunFolder(said[TRAIN].folder))["metrics"]
    rows = []
    for name, color in CLASSES.items():
        both = either = 0
        for path in (tmp_path / "elsewhere/masks").iterdir():
            truth, found = (read_image(file) for file in (path, tmp_path / "new_masks" / f"{path.stem}_mask.png"))
            known = (truth != UNKNOWN).any(axis=2)
            true, predicted = ((pixels == color).all(axis=2) & known for pixels in (truth, found))
            both, either = both + (true & predicted).sum(), either + (true | predicted).sum()
        rows.append((name, metrics[f"test/iou/{name}"], both / either))
    with capsys.disabled():
        print("\n| class | IoU, test split | IoU, new images |\n| --- | --- | --- |")
        print("\n".join(f"| {name} | {test:.3f} | {new:.3f} |" for name, test, new in rows))
    for name, *values in rows:
        assert min(values) > (0.5 if name == "buoy" else 0.75), name
