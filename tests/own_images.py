"""Images and masks as a user has them, in two folders."""

import numpy as np

from unet_exp import data
from unet_exp.compose import compose_train
from unet_exp.config import parse
from unet_exp.io.writing import write_image

RNG = np.random.default_rng(0)


def config(root, *words):
    return parse(compose_train(["data=folder", f"data.images={root}/images", f"data.masks={root}/masks", *words])).data


def load(root, *words):
    return data.load_data(config(root, *words))


def grey(size=16):
    return RNG.integers(0, 256, (size, size, 1)).astype(np.uint8)


def mask(size=16):
    return (255 * (grey(size)[..., 0] > 127)).astype(np.uint8)


def put(root, name, image=None, label=None, suffix=".png"):
    for place, array in (("images", grey() if image is None else image), ("masks", mask() if label is None else label)):
        path = root / place / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, array)


def names(dataset):
    return [[sample.name for sample in part] for part in (dataset.train, dataset.val, dataset.test, dataset.unlabelled)]
