"""A user's own augmentation: the documented one trains, and each mistake is one line."""

import re
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import composed
from patterns import in_memory

from unet_exp import augmentation
from unet_exp.augmentation import Window
from unet_exp.checkpoints.opening import open_checkpoint
from unet_exp.config import IGNORE_LABEL, parse
from unet_exp.errors import ConfigError
from unet_exp.samples.moments import summarize
from unet_exp.samples.normalization import Normalization
from unet_exp.samples.sample import Sample
from unet_exp.sweeps.plan import require_trust
from unet_exp.training.parts import ImageParts

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "augmentation.md").read_text()
(EXAMPLE,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
TURN = """
import numpy as np

class Own:
    def __init__(self, times=1):
        self.times = times

    def __call__(self, image, maps, random):
        {body}
        return np.rot90(image, self.times), [np.rot90(one, self.times) for one in maps]
"""

Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes a module of a package `theirs_aug` and gives its import path."""
    folder, numbers = tmp_path / "theirs" / "theirs_aug", count()
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(folder.parent))

    def module(code: str) -> str:
        name = f"own{next(numbers)}"
        (folder / f"{name}.py").write_text(code)
        return f"theirs_aug.{name}"

    yield module
    for name in [name for name in sys.modules if name.partition(".")[0] == "theirs_aug"]:
        del sys.modules[name]


def config_of(target: str, *words: str) -> Any:
    return parse(composed("augmentation=custom", f"augmentation.target={target}", *words))


def sample(kind: Any = np.uint8) -> Sample:
    ids = np.arange(1, 50 * 60 + 1, dtype=np.int32).reshape(50, 60) * 70_001
    return Sample("a", (ids % 251).astype(kind)[..., None], (ids % 3).astype(np.uint8), ids)


def cut(config: Any, one: Sample, window: Window, seed: int) -> tuple[Any, ...]:
    parts = ImageParts(in_memory([one]), 0, Normalization(mode="none"))
    stored = parts.stored(lambda _: summarize(one.image)[1])
    return augmentation.build(config.augmentation)(stored, window, seed, parts.plane("label"), parts.plane("instances"))


def test_the_documented_one_trains_and_its_checkpoint_needs_no_trust(write: Write, train: Any) -> None:
    target = f"{write(EXAMPLE)}.Vignette"
    run = train(
        "augmentation=custom",
        f"augmentation.target={target}",
        "augmentation.params={strength: 0.7}",
        "trainer.max_steps=1",
    )
    assert run.read_summary().status == "finished"
    assert open_checkpoint(run.best, ()).config.augmentation.target == target


def test_the_documented_one_moves_maps_with_the_image(write: Write) -> None:
    config, one = config_of(f"{write(EXAMPLE)}.Vignette", "augmentation.params={strength: 0}"), sample()
    for seed in range(5):
        patch, label, ids = cut(config, one, Window(5, 10, 30, -2), seed)
        assert (patch.shape, label.shape, ids.dtype) == ((30, 30, 1), (26, 26), np.int32)
        known = ids > 0
        assert (label[known] == ids[known] % 3).all()
        assert (label[~known] == IGNORE_LABEL).all()
        assert known.mean() > 0.7


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_it_is_given_pixels_as_stored_with_context_and_may_leave_the_maps(write: Write, kind: Any) -> None:
    code = TURN.format(body="assert image.dtype == np.uint8 or image.min() >= 0 and image.max() <= 1")
    target, one = f"{write(code)}.Own", sample(kind)
    patch, _, ids = cut(config_of(target, "augmentation.context=4"), one, Window(8, 8, 20), 0)
    plain = Normalization(mode="none")(one.image)[8:28, 8:28]
    np.testing.assert_allclose(patch, np.rot90(plain), atol=1e-4)
    assert (ids == np.rot90(one.instances[8:28, 8:28])).all()
    still = TURN.format(body="assert not maps").replace("class Own:", "class Own:\n    moves_pixels = False")
    config = config_of(f"{write(still)}.Own")
    assert not augmentation.build(config.augmentation).deforms
    assert (cut(config, one, Window(8, 8, 20), 0)[2] == one.instances[8:28, 8:28]).all()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return image", r"it must return \(image, maps\), not ndarray"),
        ("return image, maps[:1]", "it is given 3 maps and must return as many, not 1"),
        (
            "return image[1:], maps",
            r"it must return the image as uint8 \(46, 46, 1\), as it is given, not uint8 \(45, 46",
        ),
        ("return image / 2, maps", r"must return the image as uint8 \(46, 46, 1\), as it is given, not float64"),
        ("return image, [one * 1.0 for one in maps]", r"it must return maps\[0\] as uint8"),
        ("return image, [maps[0], maps[1] + 0.5, maps[2]]", r"values in maps\[1\] that were not there.*INTER_NEAREST"),
        ("raise KeyError('x')", r"calling it on an image of 46 x 46 x 1 \(uint8\) and 3 maps raises KeyError: 'x'"),
        ("image = image + np.random.randint(200, size=image.shape, dtype=np.uint8)", "other results for equal seeds"),
    ],
)
def test_each_mistake_is_one_line(write: Write, body: str, message: str) -> None:
    config = config_of(f"{write(TURN.format(body=body))}.Own").augmentation
    built = augmentation.build(config)
    with pytest.raises(ConfigError, match=message) as raised:
        augmentation.try_augmentation(config, built, 32, 1, np.dtype(np.uint8))
    assert str(raised.value).startswith(f"augmentation.target={config.target}")
    assert "\n" not in str(raised.value)


def test_a_class_that_does_not_fit_is_told_before_data_are_read(write: Write) -> None:
    target = f"{write('class Own: pass')}.Own"
    with pytest.raises(ConfigError, match=r"it has no method __call__\(image, maps, random\)"):
        augmentation.build(config_of(target).augmentation)
    with pytest.raises(ConfigError, match="there is no module nowhere"):
        augmentation.build(config_of("nowhere.Own").augmentation)


def test_a_run_of_somebody_else_needs_trust() -> None:
    with pytest.raises(ConfigError, match=r"augmentation.target=theirs.Own.*trust=\[theirs\]"):
        require_trust("resume=there", config_of("theirs.Own"), [])
    require_trust("resume=there", config_of("theirs.Own"), ["theirs"])
