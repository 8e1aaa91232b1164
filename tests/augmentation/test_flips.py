"""`augmentation=flips`: the draws of the library that it was made with before, so that earlier trainings repeat."""

import os

import numpy as np
import pytest

from unet_exp.augmentation import Window
from unet_exp.augmentation.flips import Flips


@pytest.mark.parametrize("channels", [1, 3])
def test_flips_are_those_of_albumentations_d4(channels: int) -> None:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations

    theirs = albumentations.Compose([albumentations.D4(p=1.0)], additional_targets={"weights": "mask"})
    random = np.random.default_rng(0)
    image = random.normal(size=(20, 20, channels)).astype(np.float32)
    label, weights = random.integers(0, 3, (20, 20)).astype(np.uint8), random.normal(size=(20, 20)).astype(np.float32)
    for seed in (*range(40), 2**32 - 1, *map(int, random.integers(0, 2**32, 40))):
        theirs.set_random_seed(seed)
        expected = theirs(image=image, mask=label, weights=weights)
        turned = Flips()(image, Window(0, 0, 20), seed, label, weights)
        for ours, name in zip(turned, ("image", "mask", "weights"), strict=True):
            assert ours.dtype == expected[name].dtype
            assert ours.flags.c_contiguous
            np.testing.assert_array_equal(ours, expected[name])
