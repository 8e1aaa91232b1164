"""Parts of a training that other libraries have too, and the scores."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks.pairs import Pair
from benchmarks.settings import Benchmark


def makemake_slice() -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.int32]]:
    """A normalised micrograph (512, 512, 1), its label and its cells."""
    from unet_exp.data.sets.synthetic import generate

    made = generate(512, 512, 0, 0)
    image = made.image[:, :, None].astype(np.float32)
    return (image - image.mean()) / image.std(), made.label, made.instances


def make_slice() -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.int32]]:
    """A normalised micrograph (512, 512, 1), its label and its cells."""
    from unet_exp.data.sets.synthetic import generate

    made = generate(512, 512, 0, 0)
    image = made.image[:, :, None].astype(np.float32)
    return (image - image.mean()) / image.std(), made.label, made.instances


def list_weight_maps(task: Benchmark) -> list[Pair]:
    """The distance term, beside SciPy's transforms of the whole image."""
    del task
    from scipy import ndimage

    from unet_exp.weight_map import border_term

    _, _, cells = make_slice()

    def full_size() -> NDArray[np.float64]:
        nearest, second = np.full((2, *cells.shape), np.inf)
        for cell in np.unique(cells[cells > 0]):
            distance = ndimage.distance_transform_edt(cells != cell)
            second = np.minimum(second, np.maximum(nearest, distance))
            nearest = np.minimum(nearest, distance)
        return np.where(cells == 0, 10 * np.exp(-((nearest + second) ** 2) / 50), 0)

    return [
        Pair(
            "weightmap", f"distance term, 512 x 512, {cells.max()} cells", "box and margin", "scipy, full size",
            lambda: border_term(cells, 10.0, 5.0, "background"), full_size,
        )
    ]  # fmt: skip


def list_augmentations(task: Benchmark) -> list[Pair]:
    """The paper's augmentation, beside albumentations."""
    del task
    import os

    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it looks for them when it is imported
    import albumentations

    from unet_exp.augmentation import Window, build
    from unet_exp.config import PaperAugmentationConfig
    from unet_exp.mirror import mirror_window

    image, label, _ = make_slice()
    config = PaperAugmentationConfig(
        name="paper", shift=20.0, rotation=180.0, flip=False, grid=3, std=10.0, knots="border", contrast=0.1,
        brightness=0.1,
    )  # fmt: skip
    ours = build(config)
    border = {"border_mode": 4, "p": 1.0}
    one_by_one = albumentations.Compose(
        [
            albumentations.Affine(translate_px=(-20, 20), **border),
            albumentations.Rotate(180, interpolation=2, **border),
            albumentations.ElasticTransform(alpha=300, sigma=50, interpolation=2, **border),
            albumentations.RandomBrightnessContrast(0.1, 0.1, p=1.0),
        ]
    )

    def library() -> object:
        patch, target = (mirror_window(whole, -30, -30, 572, 572) for whole in (image, label))
        return one_by_one(image=patch, mask=target)

    def first() -> object:
        return ours(image, Window(-30, -30, 572), 0, label)

    return [
        Pair(
            "augmentation", "a patch of 572 x 572 with its label", "one remap", "albumentations, one remap each",
            first, library,
        ),
        Pair(
            "augmentation", "a patch of 572 x 572 with its label", "one remap", "MONAI Rand2DElastic with affine",
            first, _deform_by_monai(image, label), None, 1000, "monai",
        ),
    ]  # fmt: skip


def _deform_by_monai(image: NDArray[np.float32], label: NDArray[np.uint8]) -> Callable[[], object]:
    """MONAI's deformation, rotation and shift of a patch of 572 x 572 with its label."""

    def deform() -> object:
        from monai.transforms.spatial.dictionary import Rand2DElasticd

        from unet_exp.mirror import mirror_window

        transform = Rand2DElasticd(
            keys=("image", "label"), spacing=(190, 190), magnitude_range=(5, 15), prob=1.0, rotate_range=(np.pi,),
            translate_range=(20, 20), mode=("bicubic", "nearest"), padding_mode="reflection",
        )  # fmt: skip
        patch, target = (mirror_window(whole, -30, -30, 572, 572) for whole in (image, label))
        return transform({"image": np.moveaxis(patch, 2, 0), "label": target[None].astype(np.float32)})

    return deform


def list_metrics(task: Benchmark) -> list[Pair]:
    """The challenge's scores, beside one of them by scikit-image, and beside the warping error."""
    del task
    from scipy import ndimage
    from skimage import metrics

    from unet_exp.metrics.border_stack import THRESHOLDS, BorderStack
    from unet_exp.metrics.isbi import thin
    from unet_exp.metrics.overlap import components
    from unet_exp.metrics.warping import warping_errors

    _, label, _ = make_slice()
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(0, 1, label.shape), 2)
    foreground = np.clip(ndimage.gaussian_filter(label.astype(float), 1) + 1.5 * noise, 0, 1).astype(np.float32)

    def by_skimage() -> list[object]:
        truth = components(label != 0)
        rand_error: Callable[..., object] = metrics.adapted_rand_error
        return [rand_error(truth, thin(foreground > t), ignore_labels=(0,)) for t in THRESHOLDS]

    return [
        Pair(
            "metrics", "512 x 512, all thresholds", "V_Rand, V_Info, Rand, pixel", "scikit-image: Rand alone",
            lambda: BorderStack().add(label, foreground), by_skimage,
        ),
        Pair(
            "metrics", "512 x 512, all thresholds", "V_Rand, V_Info, Rand, pixel", "warping error",
            lambda: BorderStack().add(label, foreground),
            lambda: warping_errors(label, foreground, THRESHOLDS[:-1]),
        ),
    ]  # fmt: skip
