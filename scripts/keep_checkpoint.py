"""Keep a tiny run of today for tomorrow's tests: `python scripts/keep_checkpoint.py`, once for each new format."""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

import unet_exp
from unet_exp.checkpoints.migrations import FORMAT
from unet_exp.checkpoints.onnx_export import export_to_onnx
from unet_exp.checkpoints.opening import open_checkpoint
from unet_exp.compose import compose_train
from unet_exp.config import parse
from unet_exp.runs.run_folder import RunFolder
from unet_exp.training.run import train

FIXTURES = Path(__file__).resolve().parents[1] / "tests" / "fixtures"
WORDS = [
    *("model=same", "model.depth=2", "model.width=2", "optimizer.lr=0.03", "loss.class_weights=inverse", "logger=csv"),
    *("data.height=64", "data.width=64", "data.tile=32", "data.train_images=2", "data.val_images=1"),
    *("data.test_images=1", "data.normalization=dataset", "trainer.max_steps=4", "trainer.accelerator=cpu"),
    "trainer.precision=32",
]
KEPT = ("config.yaml", "summary.json", "metrics.csv", "per_image.csv", "per_threshold.csv")


def keep_checkpoint(fixtures: Path = FIXTURES) -> Path:
    target = fixtures / f"format-{FORMAT}"
    if target.exists():
        raise SystemExit(f"error: {target} is there already: what an earlier day has written is not written again")
    with tempfile.TemporaryDirectory() as output:
        run = train(parse(compose_train([*WORDS, f"output={output}"])), WORDS)
        (target / "checkpoints").mkdir(parents=True)
        for name in KEPT:
            (target / name).write_text((run.path / name).read_text().replace(output, "outputs"))
        for path in (run.best, run.last, run.previous):
            content = torch.load(path, weights_only=True)
            torch.save(_moved(content, output), target / "checkpoints" / path.name)
    export_to_onnx(open_checkpoint(target), target / "network.onnx", opset=18)
    _keep_answers(RunFolder(target))
    return target


def _moved(value: Any, output: str) -> Any:
    """The same without the name of a folder of today."""
    if isinstance(value, dict):
        return {_moved(key, output): _moved(item, output) for key, item in value.items()}
    if isinstance(value, list):
        return [_moved(item, output) for item in value]
    return value.replace(output, "outputs") if isinstance(value, str) else value


def _keep_answers(run: RunFolder) -> None:
    """What the checkpoint says of itself, and what it makes of an image."""
    predictor = unet_exp.load(run.path, "cpu", "32")
    step, record = predictor.checkpoint.step, predictor.checkpoint.record
    image = np.random.default_rng(0).integers(0, 256, (21, 26, record.channels), np.uint8)
    np.savez_compressed(run.path / "answers.npz", image=image, probabilities=predictor.probabilities(image))
    said = {**record.model_dump(include={"classes", "normalization", "trained_on"}), "step": step}
    (run.path / "answers.json").write_text(json.dumps(said, indent=2) + "\n")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        raise SystemExit(f"error: {sys.argv[1]} is unknown here: there is no word to type")
    print(keep_checkpoint())
