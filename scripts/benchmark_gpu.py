"""What a GPU makes of trainings and predictions, beside plain PyTorch loops; see docs/performance.md."""

import csv
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch

USAGE = """Measure training, validation and prediction on a GPU beside plain PyTorch loops.

Usage: python scripts/benchmark_gpu.py [part ...] [output=<file>]

  part    train (the paper network in the real training, batches of 1 and 8, augmentation in workers and on the device),
          plain (the network alone: layouts, cuDNN's choices, precisions), compile, predict; all of them without a word
  output  JSON file (outputs/benchmark/gpu.json)
"""

SCENES = [
    *("data=synthetic", "data.height=512", "data.width=512", "data.train_images=20", "data.val_images=4"),
    *("data.test_images=1", "logger=csv", "metrics.pictures=0", "trainer.val_every_epochs=5", "trainer.max_steps=500"),
    "trainer.monitor=val/v_rand",
]
PEAK = 989e12
"""Dense bf16 operations a second of an H100 or H200, by the vendor's data sheet."""

LARGE = 2048
"""Side of the image that is predicted, pixels."""

Row = dict[str, Any]


@contextmanager
def watch_utilization(seen: list[tuple[float, int]]) -> Iterator[None]:
    """Collects how busy the GPU is, in percent, four times a second; nothing without NVML."""
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.25):
            try:
                seen.append((time.time(), torch.cuda.utilization()))
            except Exception:
                return

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def train_rows(words: list[str]) -> Row:
    """Trains by these words, and returns the time of a step, of the validation, and how busy the GPU was."""
    from unet_exp.training.run import train

    seen: list[tuple[float, int]] = []
    with tempfile.TemporaryDirectory() as place:
        words = [*words, f"output={place}"]
        with redirect_stdout(StringIO()), watch_utilization(seen):
            folder = train(_read(words), words)
        rows = list(csv.DictReader((folder.path / "metrics.csv").open()))
        summary = json.loads((folder.path / "summary.json").read_text())
    ends = [float(row["seconds"]) for row in rows]
    steps = [int(row["step"]) for row in rows]
    per_step = [(b - a) / (n - m) for a, b, m, n in zip(ends, ends[1:], steps, steps[1:], strict=False)]
    validated = [i for i, row in enumerate(rows) if row["val/loss"]]
    plain = [value for i, value in enumerate(per_step, start=1) if i not in validated]
    step = statistics.median(plain)
    extra = [(ends[i] - ends[i - 1]) - step * (steps[i] - steps[i - 1]) for i in validated if i]
    between = step * steps[validated[0]]
    busy = [value for _, value in seen]
    middle = busy[len(busy) // 3 : 2 * len(busy) // 3]
    return {
        "step_ms": 1e3 * step, "steps_ms": [round(1e3 * value, 2) for value in per_step],
        "validation_s": extra, "validation_share": statistics.median(extra) / between if extra else None,
        "busy": statistics.mean(middle) if middle else None, "busy_all": busy,
        "setup_s": summary["seconds_setup"], "test_s": summary["seconds_test"],
        "macs": summary["macs"], "precision": summary["precision"], "peak_GB": summary["peak_memory"] / 1e9,
    }  # fmt: skip


def measure_training(places: list[str]) -> Iterator[Row]:
    for batch in (1, 8):
        for place in places:
            words = ["experiment=paper", *SCENES, f"data.batch_size={batch}", f"data.tiles_per_epoch={100 * batch}"]
            words += place.split()
            try:
                row = train_rows(words)
            except Exception as error:  # the others still count
                yield {"part": "train", "batch": batch, "words": place, "error": repr(error)[:300]}
                continue
            row["share_of_peak"] = 6 * row["macs"] * batch / (row["step_ms"] / 1e3) / PEAK
            yield {"part": "train", "batch": batch, "words": place, **row}
    for words in (["experiment=small"], ["experiment=small", "trainer.precision=32"]):
        yield {"part": "train", "words": " ".join(words), **train_rows([*words, *SCENES, "data.tiles_per_epoch=200"])}


def time_steps(run: Callable[[], object], warm: int = 5, count: int = 15) -> float:
    """Milliseconds of a call, in the steady state."""
    for _ in range(warm):
        run()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(count):
        run()
    torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - start) / count


def plain_step(
    words: list[str], batch: int, side: int, bf16: bool, layout: Any, compiled: bool = False
) -> Callable[[], None]:
    """A training step as one would write it by hand: SGD, no augmentation, one batch that stays on the GPU."""
    from unet_exp.compose import compose_train
    from unet_exp.config import parse
    from unet_exp.network import build

    torch.manual_seed(0)
    network: Any = build(parse(compose_train(words)), 1, 2).cuda()
    network.to(memory_format=layout)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.99)
    image = torch.randn(batch, 1, side, side, device="cuda").contiguous(memory_format=layout)
    label = torch.zeros_like(network(image)[:, 0], dtype=torch.long)
    if compiled:
        network.compile()

    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16, enabled=bf16):
            logits = network(image)
        loss: Any = torch.nn.functional.cross_entropy(logits.float(), label)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()

    return step


def measure_plain() -> Iterator[Row]:
    formats = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}
    for batch in (1, 8):
        for name, layout in formats.items():
            for deterministic, benchmark in ((True, False), (False, False), (False, True)):
                torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = deterministic, benchmark
                ms = time_steps(plain_step(["model=valid"], batch, 572, True, layout))
                yield {
                    "part": "plain",
                    "batch": batch,
                    "layout": name,
                    "deterministic": deterministic,
                    "benchmark": benchmark,
                    "step_ms": ms,
                }
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    for width in (16, 32, 48, 64):
        for batch in (2, 8):
            for bf16 in (False, True):
                words = ["experiment=small", f"model.width={width}"]
                ms = time_steps(plain_step(words, batch, 256, bf16, torch.channels_last))
                yield {"part": "plain", "width": width, "batch": batch, "bf16": bf16, "step_ms": ms}


def measure_compile() -> Iterator[Row]:
    cases = {
        "paper, 572, batch 1": (["model=valid"], 1, 572),
        "paper, 572, batch 8": (["model=valid"], 8, 572),
        "small, 2 x 256": (["experiment=small"], 2, 256),
    }
    for name, (words, batch, side) in cases.items():
        for compiled in (False, True):
            torch.compiler.reset()
            step = plain_step(words, batch, side, True, torch.channels_last, compiled)
            start = time.perf_counter()
            step()
            torch.cuda.synchronize()
            first = time.perf_counter() - start
            yield {"part": "compile", "what": name, "compiled": compiled, "first_s": first, "step_ms": time_steps(step)}


def measure_prediction() -> Iterator[Row]:
    """Predicts a large image with barely trained networks, beside the network alone and MONAI's sliding window."""
    from unet_exp.checkpoints.opening import open_checkpoint
    from unet_exp.training.run import train

    brief = ["trainer.max_steps=1", "scheduler.warmup_steps=0", "data.tiles_per_epoch=1"]
    for name in ("experiment=small", "experiment=paper", "experiment=small model.norm=instance"):
        with tempfile.TemporaryDirectory() as place:
            words = [*name.split(), *SCENES, *brief, f"output={place}"]
            with redirect_stdout(StringIO()):
                folder = train(_read(words), words)
            for precision in ("auto", "32"):
                yield {"part": "predict", "what": name, **_compare_predictions(open_checkpoint(folder.best), precision)}


def _compare_predictions(checkpoint: Any, precision: str) -> Row:
    """Milliseconds of an image of 2048 x 2048: ours from array to probabilities, the others on tensors alone."""
    import numpy as np
    from monai import inferers

    from unet_exp.geometry import input_for_output
    from unet_exp.inference.device import autocast
    from unet_exp.inference.predictor import Predictor

    image = np.random.default_rng(0).integers(0, 255, (LARGE, LARGE), np.uint8)
    predictor = Predictor(checkpoint, "auto", precision)
    plain, device = checkpoint.network().cuda().eval(), predictor.device
    architecture = plain.architecture
    side = input_for_output(architecture, LARGE)
    pixels = torch.randn(1, 1, side, side, device="cuda")
    slide: Any = vars(inferers)["sliding_window_inference"]

    def alone() -> None:
        with torch.inference_mode(), autocast(predictor.precision, device):
            predictor.networks[0](pixels)

    def by_monai() -> None:
        with torch.inference_mode(), autocast(predictor.precision, device):
            slide(pixels, (256, 256), 4, plain)

    row: Row = {"precision": predictor.precision, "tile": predictor.inference.tile}
    row["ours_ms"] = time_steps(lambda: predictor.probabilities(image), 2, 5)
    row["network_ms"] = time_steps(alone, 2, 5)
    if side == LARGE:  # MONAI's cannot serve a network whose output is smaller than its input
        row["monai_ms"] = time_steps(by_monai, 1, 3)
    return row


def _read(words: list[str]) -> Any:
    from unet_exp.cli.command import read_command

    return read_command(words)


def main() -> None:
    parts = [word for word in sys.argv[1:] if "=" not in word]
    settings = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    places = settings.get("places", "data.num_workers=8 augmentation.device=cpu,augmentation.device=gpu").split(",")
    measures = {
        "train": lambda: measure_training(places),
        "plain": measure_plain,
        "compile": measure_compile,
        "predict": measure_prediction,
    }
    output = Path(settings.get("output", "outputs/benchmark/gpu.json"))
    output.parent.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = [{"device": torch.cuda.get_device_name(), "torch": torch.__version__}]
    for part in parts or list(measures):
        start = time.time()
        try:
            for row in measures[part]():
                rows.append(row)
                print(
                    {
                        key: round(value, 4) if isinstance(value, float) else value
                        for key, value in row.items()
                        if key not in ("busy_all", "steps_ms")
                    },
                    flush=True,
                )
                output.write_text(json.dumps(rows, indent=2) + "\n")
        except Exception as error:
            print(part, "failed:", repr(error)[:500], flush=True)
        print(f"== {part}: {time.time() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
