"""The project is extended in as many files as docs/extend.md says: a copy of it gets a logger and a data set."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TINY

ROOT = Path(__file__).resolve().parents[2]

LOGGER = {
    "unet_exp/training/loggers/lines.py": """
from unet_exp.training.loggers.interface import LOGGERS, RunLogger


class Lines(RunLogger):
    title = "Lines"

    def __init__(self, path):
        self.path = path

    @classmethod
    def open(cls, start):
        return cls(start.folder.path / "lines.txt")

    def log_metrics(self, metrics, step):
        self._write(f"{step}: {' '.join(metrics)}")

    def log_predictions(self, shown):
        self._write(f"{shown.step}: {len(shown.samples)} pictures")

    def log_pictures(self, pictures, step):
        self._write(f"{step}: {' '.join(pictures)}")

    def finish(self, metrics, failed):
        self._write(f"failed: {failed}")

    def _write(self, line):
        with self.path.open("a") as file:
            print(line, file=file)


LOGGERS["lines"] = Lines
""",
    "conf/logger/lines.yaml": "name: lines\nimages: 1\nimages_every_epochs: 1\n",
}
LOGGER_CONFIG = (
    "unet_exp/config/loggers.py",
    'class LinesConfig(PictureLoggerConfig):\n    name: Literal["lines"]\n\n\n_OneLogger = ',
    "_OneLogger = ",
    "WandbConfig |",
    "LinesConfig | WandbConfig |",
)
DATA_SET = {
    "unet_exp/data/sets/noise.py": """
import numpy as np

from unet_exp.config import ClassSpec
from unet_exp.samples.data_set import DataSet
from unet_exp.samples.sample import Sample
from unet_exp.data.sets import DATA_SETS


def load(config):
    rng = np.random.default_rng(config.seed)
    images = rng.integers(0, 256, (3, 64, 64, 1), np.uint8)
    samples = [Sample(f"noise_{i}", image, (image[..., 0] > 99).astype(np.uint8)) for i, image in enumerate(images)]
    classes = tuple(ClassSpec(name=name, value=i, color=[99 * i] * 3) for i, name in enumerate(("dark", "light")))
    return DataSet.of(samples[:1], samples[1:2], samples[2:], (), classes, channels=1)


DATA_SETS["noise"] = load
""",
    "conf/data/noise.yaml": (ROOT / "conf/data/synthetic.yaml").read_text().partition("height:")[0]
    .replace("name: synthetic", "name: noise"),
}  # fmt: skip
DATA_CONFIG = (
    "unet_exp/config/data.py",
    'class NoiseConfig(PatchConfig):\n    name: Literal["noise"]\n    seed: Natural\n\n\nDataConfig = Annotated[',
    "DataConfig = Annotated[",
    "SyntheticConfig |",
    "NoiseConfig | SyntheticConfig |",
)


@pytest.mark.slow
def test_a_logger_and_a_data_set_in_three_files_each(tmp_path: Path) -> None:
    for folder in ("unet_exp", "conf", "scripts"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for path, text in (LOGGER | DATA_SET).items():
        (tmp_path / path).write_text(text)
    for path, declared, table, first, union in (LOGGER_CONFIG, DATA_CONFIG):
        text = (tmp_path / path).read_text()
        assert text.count(f"\n{table}") == text.count(first) == 1
        (tmp_path / path).write_text(text.replace(first, union).replace(f"\n{table}", f"\n{declared}"))
    words = [word for word in TINY if not word.startswith(("data.", "logger="))]
    subprocess.run(
        [sys.executable, "scripts/train.py", *words, "data=noise", "logger=lines", "data.tile=32", "output=out"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        check=True,
    )
    (lines,) = tmp_path.glob("out/train/*/lines.txt")
    told = lines.read_text().splitlines()
    assert "1: 1 pictures" in told
    assert any("val/iou/light" in line for line in told)
    assert "test/iou/light" in told[-2]
    assert told[-1] == "failed: False"
