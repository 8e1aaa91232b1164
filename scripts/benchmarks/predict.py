"""Prediction: beside MONAI's sliding window, and beside the network alone."""

import atexit
import contextlib
import io
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmark_large import LAYOUTS

from benchmarks.networks import make_image, make_predictor, run_network, save_network
from benchmarks.pairs import Goal, Pair
from benchmarks.settings import Benchmark


def list_pairs(task: Benchmark) -> list[Pair]:
    """One array, a folder of small pictures, and a large file."""
    folder = Path(tempfile.mkdtemp(prefix="benchmark_predict_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    save_network(folder / "network.ckpt")
    return [_beside_monai(task), *_small_pictures(task, folder), _large_file(task, folder)]


def _beside_monai(task: Benchmark) -> Pair:
    import torch

    side = task.choose(2048, 256)
    image, predictor = make_image(side), make_predictor(task)
    x = predictor.prepare(image)[0].to(predictor.device)
    network = predictor.checkpoint.network().to(predictor.device).eval()

    def slide() -> object:
        from monai.inferers.utils import sliding_window_inference

        region = (task.choose(256, 64),) * 2
        with torch.inference_mode():
            return sliding_window_inference(x, region, 4, network)

    what, ours = f"{side} x {side}, small network", "predict, default tile"
    rival = "MONAI sliding window, 256, overlap 0.25"
    return Pair(
        "predict", what, ours, rival, lambda: predictor.probabilities(image), slide, Goal("ratio", 1.5), 5, "monai"
    )


def _small_pictures(task: Benchmark, folder: Path) -> list[Pair]:
    import cv2

    count, side = task.choose(200, 8), task.choose(256, 64)
    images = folder / "images"
    images.mkdir()
    whole = make_image(1024)
    for index in range(count):
        top, left = 16 * (index % 40), 16 * (index // 40)
        cv2.imwrite(str(images / f"{index}.png"), whole[top : top + side, left : left + side])
    ours = _predict(task, folder, images)
    network = make_predictor(task).networks[0]
    rivals = {batch: run_network(network, side, count, batch) for batch in (1, 8)}
    what = f"{count} PNG files of {side} x {side}"
    return [
        Pair("predict", what, "predict", f"network alone, batch {batch}", ours, run, Goal("ratio", 0.9), 5)
        for batch, run in rivals.items()
    ]


def _large_file(task: Benchmark, folder: Path) -> Pair:
    side = task.side or task.choose(4096, 1024)
    path, window = folder / "large.tif", task.choose(1024, 256)
    LAYOUTS["tiled"](path, side)
    alone = run_network(make_predictor(task).networks[0], window, (side // window) ** 2)
    ours = _predict(task, folder, path, "memory=2GB")
    what, rival = f"a TIFF file of {side} x {side}, memory=2GB", f"network alone, {(side // window) ** 2} x {window}"
    return Pair("predict", what, "predict", rival, ours, alone, Goal("ratio", 0.85), 3)


def _predict(task: Benchmark, folder: Path, source: Path, *words: str) -> Callable[[], object]:
    """`scripts/predict.py` in this process: its imports, which take seconds, were made before."""
    from unet_exp.cli.predict import main

    masks = folder / "masks"
    typed = [f"checkpoint={folder / 'network.ckpt'}", f"input={source}", f"output={masks}", *words]
    typed += task.words

    def run() -> None:
        before = sys.argv
        sys.argv = ["predict.py", *typed]
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                main()
        finally:
            sys.argv = before
            shutil.rmtree(masks, ignore_errors=True)

    return run
