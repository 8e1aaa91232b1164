"""How long one patch takes with each augmentation: `python scripts/benchmark_augmentation.py`."""

import re
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from unet_exp import augmentation, losses
from unet_exp.compose import compose_train
from unet_exp.config import Config, parse
from unet_exp.data.sets.synthetic import generate
from unet_exp.samples.normalization import Normalization
from unet_exp.samples.sample import ImagesInMemory, Sample
from unet_exp.training.draws import Draw
from unet_exp.training.patches import PatchDataset

PAGE = Path(__file__).resolve().parents[1] / "docs" / "augmentation.md"
TILE, INPUT, PATCHES = 388, 572, 20


def measure(config: Config) -> float:
    """Milliseconds of one patch, the median."""
    made = generate(512, 512, seed=0, index=0)
    images = ImagesInMemory([Sample("a", made.image[..., None], made.label)], 2)
    built, targets = augmentation.build(config.augmentation), losses.targets(config.loss)
    patches = PatchDataset(images, Normalization(mode="image"), TILE, INPUT, built, targets, 0)
    times = []
    for position in range(PATCHES + 1):
        began = time.perf_counter()
        patches[Draw(0, position, 0)]
        times.append(time.perf_counter() - began)
    return float(np.median(times[1:])) * 1000


def main() -> None:
    cv2.setNumThreads(1)
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    listed = yaml.safe_load(block)["transforms"]
    choices: list[tuple[str, list[Any]]] = [
        ("none", []), ("flips", []), ("paper", []), ("strong", []),
        ("albumentations, the cells' list", listed),
        ("albumentations, without ElasticTransform", [one for one in listed if one["name"] != "ElasticTransform"]),
        ("albumentations, values alone", [one for one in listed if one["name"] in ("OneOf", "GaussNoise")]),
    ]  # fmt: skip
    print("| augmentation | ms |\n| --- | --- |")
    for title, transforms in choices:
        values = compose_train([f"augmentation={title.partition(',')[0]}"])
        if transforms:
            values["augmentation"]["transforms"] = transforms
        print(f"| {title} | {measure(parse(values)):.1f} |")


if __name__ == "__main__":
    main()
