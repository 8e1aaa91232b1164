"""What the end-to-end tests share: an environment of their own, tiny settings, and ways to run the entry points.

`train` and `cli` run in this process, because a fresh one that imports torch takes six seconds. Figures are made but
not drawn, since drawing takes two thirds of a tiny training; tests of what a figure shows use the fixture `draws`.
"""

import csv
import gc
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

gc.disable()  # until all is imported: it would look through the libraries for three seconds in each process

# Before PyTorch is imported: tiny images gain nothing from more threads, lose much where other processes run, and some
# processors round differently with other numbers of them.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TORCH_CPP_LOG_LEVEL"] = "FATAL"  # tests of processes that do not meet would print PyTorch's stacks

# A few random examples each time; the gate takes more of them.
settings.register_profile("few", deadline=None, max_examples=6, derandomize=True)
settings.register_profile("many", deadline=None, max_examples=30, derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "few"))

TINY = [
    "data.height=64",
    "data.width=64",
    "data.tile=32",
    "data.train_images=2",
    "data.val_images=1",
    "data.test_images=1",
    "model.depth=2",
    "model.width=4",
    "trainer.max_steps=2",
    "trainer.accelerator=cpu",
    "trainer.precision=32",
    "logger=csv",
    "metrics.distances=false",  # these take longer than two steps
    "metrics.probabilities=false",
]
"""A training of a second: two epochs' worth of tiles are eight, so two steps of four are one epoch."""
ALL_SCORES = ("metrics.distances=true", "metrics.probabilities=true")
TINY_STACK = [word for word in TINY if not word.startswith(("data.height", "data.width", "data.t", "data.val"))]
"""The same for data that are read from files; the tile is left to the test."""


@dataclass(frozen=True)
class Said:
    """What an entry point left behind: its exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def mistake(self) -> str:
        """The only line of a user's mistake, without `error: `."""
        assert self.code == 2, self
        (line,) = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert "Traceback" not in self.err
        return line.removeprefix("error: ")

    @property
    def folder(self) -> Path:
        """The folder that the last line names."""
        assert self.code == 0, self
        return Path(self.out.splitlines()[-1])


def pytest_collection_finish() -> None:
    """What the libraries keep for ever, a million objects, is not looked at again and again for garbage."""
    gc.enable()
    gc.freeze()
    gc.set_threshold(50000, 10, 10)


def _undrawn(_: Any, target: Any, format: str = "png", **__: Any) -> None:
    """Writes a blank picture."""
    if format == "svg":
        target.write("<svg></svg>")
    else:
        Image.new("RGB", (1, 1)).save(target, format)


@cache
def _blank() -> list[tuple[Any, str, Any, Any]]:
    """What draws, and what stands for it."""
    # Not above: the process that hands out the tests draws nothing.
    from matplotlib.figure import Figure

    from unet_exp.figures import confusion, curves, score_curves
    from unet_exp.pages import run_page

    return [
        (Figure, "savefig", Figure.savefig, _undrawn),
        # A third of a tiny training would be spent on the axes of its curves.
        (curves, "_draw", curves._draw, lambda *_: Figure()),
        (confusion, "plot_confusion", confusion.plot_confusion, lambda *_: Figure()),
        (score_curves, "plot_curves", score_curves.plot_curves, lambda *_: Figure()),
        (run_page, "plot_history", run_page.plot_history, lambda *_: []),
    ]


@contextmanager
def drawing() -> Iterator[None]:
    """Figures are drawn in here."""
    with pytest.MonkeyPatch.context() as patch:
        for place, name, genuine, _ in _blank():
            patch.setattr(place, name, genuine)
        yield


@pytest.fixture
def draws() -> Iterator[None]:
    """Figures are drawn in this test."""
    with drawing():
        yield


@pytest.fixture(scope="session", autouse=True)
def _session_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing of the user's is read or written: no W&B key, no cache of generated images, no download."""
    from unet_exp.runs import environment

    with pytest.MonkeyPatch.context() as patch:
        for variable in [name for name in os.environ if name.startswith(("WANDB_", "HYDRA_", "SLURM_"))]:
            patch.delenv(variable)
        home = tmp_path_factory.mktemp("home")
        for variable in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_ARTIFACT_DIR"):
            patch.setenv(variable, str(home / variable))
        patch.setenv("NETRC", str(home / "netrc"))
        patch.setenv("WANDB_MODE", "disabled")
        patch.setenv("WANDB_ERROR_REPORTING", "false")
        patch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
        patch.setenv("UNET_EXP_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("UNET_EXP_ISBI2012_URL", "http://127.0.0.1:9")
        patch.setenv("UNET_EXP_CTC_URL", "http://127.0.0.1:9")
        for place, name, _, blank in _blank():
            patch.setattr(place, name, blank)
        # Each training asks Git three times.
        patch.setattr(environment, "git_state", cache(environment.git_state))
        # A process in the background of a shell begins with Ctrl-C ignored, and so would those that it starts.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
        signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def _environment_restored() -> Iterator[None]:
    """A training sets variables for processes of its own (seeds, its folder); the next test must not see them."""
    before = dict(os.environ)
    yield
    if os.environ != before:
        for variable in os.environ.keys() - before.keys():
            del os.environ[variable]
        os.environ.update(before)


@pytest.fixture(autouse=True)
def _same_start() -> Iterator[None]:
    """PyTorch draws the same numbers in every test, on one core, whatever the test before it has set."""
    if "cv2" in sys.modules:  # a test that forks would wait for a lock that one of OpenCV's threads has
        sys.modules["cv2"].setNumThreads(1)
    if "torch" not in sys.modules:
        yield
        return
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield


@pytest.fixture(scope="session")
def isbi2012_root() -> Path:
    """The real ISBI-2012 data."""
    folder = os.environ.get("UNET_EXP_ISBI2012")
    if not folder:
        pytest.skip("set UNET_EXP_ISBI2012 to a folder with the ISBI-2012 data")
    return Path(folder)


@cache
def composed(*words: str) -> dict[str, Any]:
    """The config of these words, which takes as long as a tiny training."""
    from unet_exp.compose import compose_train

    return compose_train(words)


def options(group: str) -> list[str]:
    """The words of a config group, such as `loss`, without that of a user's own class."""
    from unet_exp.files import conf_dir

    return sorted({path.stem for path in (conf_dir() / group).glob("[!_]*.yaml")} - {"custom"})


def run_training(output: Path, *words: str, base: list[str] | None = None) -> Any:
    """Train with `base` (by default `TINY`) and words over it; return the `RunFolder`."""
    from unet_exp.config import parse
    from unet_exp.training.run import train

    typed = [*(TINY if base is None else base), *(word for word in words if not word.startswith("resume="))]
    resume = [word.removeprefix("resume=") for word in words if word.startswith("resume=")]
    config = parse({**composed(*typed), "output": str(output), "resume": resume[-1] if resume else None})
    return train(config, overrides=[*typed, f"output={output}"])


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., Any]:
    """`train("model=same", ...)` trains in tiny settings below `tmp_path/out` and returns the `RunFolder`."""

    def run(*words: str, base: list[str] | None = None) -> Any:
        return run_training(tmp_path / "out", *words, base=base)

    return run


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """`cli("train", "model=same")` calls an entry point with these words, in `tmp_path`; returns what it `Said`."""
    monkeypatch.chdir(tmp_path)
    # Rich cuts long lines at the width of the terminal.
    monkeypatch.setenv("COLUMNS", "200")

    def run(entry: str, *words: str) -> Said:
        monkeypatch.setattr(sys, "argv", [f"{entry}.py", *words])
        capsys.readouterr()
        code: Any = 0
        try:
            import_module(entry if entry.startswith("benchmark") else f"unet_exp.cli.{entry}").main()
        except SystemExit as exit_:
            code = exit_.code
        return Said(int(code or 0), *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The folder of a finished tiny training (a `RunFolder`); read it, do not change it."""
    before = dict(os.environ)
    folder = run_training(
        tmp_path_factory.mktemp("finished"), *ALL_SCORES, "model=same", "trainer.max_steps=6", "seed=1"
    )
    for variable in os.environ.keys() - before.keys():
        del os.environ[variable]
    return folder


@cache
def _generated(size: int, number: int) -> Any:
    from unet_exp.data.sets.synthetic import generate

    return generate(size, size, 0, number)


@pytest.fixture
def isbi_folder(tmp_path: Path) -> Callable[..., Path]:
    """`isbi_folder(count=7, tests=2, size=48)` makes a small folder in the layout of ISBI-2012."""

    def make(count: int = 7, tests: int = 2, size: int = 48, name: str = "stack") -> Path:
        from unet_exp.io.writing import write_image

        root = tmp_path / name
        for place in ("train/image", "train/label", *(["test/image"] if tests else [])):
            (root / place).mkdir(parents=True)
        for number in range(count + tests):
            made = _generated(size, number)
            if number < count:
                write_image(root / "train/image" / f"{number}.png", made.image)
                write_image(root / "train/label" / f"{number}.png", (made.label * 255).astype(np.uint8))
            else:
                write_image(root / "test/image" / f"{number - count}.png", made.image)
        return root

    return make


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def summary(folder: Any) -> dict[str, Any]:
    """A run's `summary.json`."""
    found: dict[str, Any] = json.loads(folder.summary.read_text())
    return found


def change_summary(folder: Any, **fields: Any) -> None:
    """Writes other fields into a run's `summary.json`, as anybody might."""
    before = summary(folder) if folder.summary.exists() else {}
    folder.summary.write_text(json.dumps({**before, **fields}))
