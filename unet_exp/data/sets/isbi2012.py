"""The ISBI-2012 electron-microscopy stack: 30 labelled slices and, where present, 30 unlabelled ones.

A folder holds it in one of two layouts: PNG files (`train/image/N.png`, `train/label/N.png`,
`test/image/N.png` or `test/N.png`) or the challenge's TIFF stacks (`train-volume.tif`, `train-labels.tif`,
`test-volume.tif`).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from unet_exp.config import ClassSpec, ISBI2012Config
from unet_exp.data.sets import DATA_SETS
from unet_exp.errors import DataError
from unet_exp.io.arrays import Array, check_same_size
from unet_exp.io.download import Download, fetch_files, needs_download, server_url
from unet_exp.io.images import read_image, read_label, read_labels, read_pages, read_pixel_size
from unet_exp.io.listing import list_files
from unet_exp.samples.classes import decode
from unet_exp.samples.data_set import DataSet, choose_scale
from unet_exp.samples.sample import Sample
from unet_exp.samples.splits import split_indices

_Slices = list[tuple[str, Array]]
"""Source of each slice for messages, and its pixels (H, W, C)."""

# Dark and light as in the micrograph, and distinct with any colour vision.
ISBI_CLASSES = (
    ClassSpec(name="membrane", value=0, color=[38, 50, 110]),
    ClassSpec(name="cell", value=255, color=[250, 230, 160]),
)
ISBI_URL_VARIABLE = "UNET_EXP_ISBI2012_URL"
"""Environment variable that names another server."""
ISBI_CHECKSUMS = {
    "train/image": "200da3d452d726e6c9ca1ce04b869d4edb727320d23b516d01cce707dc8c4760",
    "train/label": "a7cb64000a1a7e542682927e19c91339f58f9f178e0bcce4e207371116f0ca36",
    "test/image": "1b58fa7ec1d0ff9d39a855622db3ff66a97863036339b0d04be51b2f5a99b0e9",
}
"""sha256 over the decoded uint8 pixels of each folder's slices, one after another."""

_URL = "https://raw.githubusercontent.com/zhixuhao/unet/b45af4d458437d8281cc218a07fd4380818ece4a/data/membrane"
_TERMS = (
    "ISBI-2012 is free for developing and comparing segmentation software for non-commercial ends; "
    "cite Cardona et al., PLoS Biology 2010, and TrakEM2 (Cardona et al., PLoS ONE 2012)"
)
_SERVED_IN = {"train/image": "train/image", "train/label": "train/label", "test/image": "test"}
_SLICES = 30
_LAYOUT = "train/image/N.png and train/label/N.png, or train-volume.tif and train-labels.tif"


def load_isbi2012(config: ISBI2012Config) -> DataSet:
    """Reads the data set, and downloads it first where `config.root` is missing or empty and `config.download` is set.

    `config.split` is `held_out` (train 0-19, validate 20-23, test 24-29, or blocks by `fold`) or `all` (train on every
    slice, validate on slices seen in training, test on none).

    Returns:
        Samples `train_00` ... and, unlabelled, `test_00` ...; images (H, W, 1) uint8, labels (H, W) uint8
        with 0 membrane and 1 cell.

    Raises:
        DataError: for missing, unreadable, surplus or unfitting files, unknown label values and a failed download.
        ConfigError: for a split that these slices do not make.
    """
    root = Path(config.root).expanduser()
    if needs_download(root, config.download, _LAYOUT):
        fetch_isbi2012(root)
    if (root / "train" / "image").is_dir():
        images, labels, tests = _read_folders(root)
    elif (root / "train-volume.tif").exists():
        images, labels, tests = _read_stacks(root)
    else:
        raise DataError(f"{root}: is not a folder with {_LAYOUT}; set data.root to one")
    # Before the labels are decoded: a wrong split is reported at once.
    split = split_indices(len(images), config.fold, config.folds, config.split)
    samples = [
        Sample(f"train_{index:02d}", _to_grey(image, source), _to_label(label, label_source, image, source))
        for index, ((source, image), (label_source, label)) in enumerate(zip(images, labels, strict=True))
    ]
    unlabelled = [Sample(f"test_{index:02d}", _to_grey(image, source)) for index, (source, image) in enumerate(tests)]
    found = DataSet.divide(samples, split, ISBI_CLASSES, 1, ("isbi",), unlabelled)
    stack = root / "train-volume.tif"
    return (
        replace(found, scale=choose_scale([read_pixel_size(stack)])) if images[0][0].startswith(str(stack)) else found
    )


DATA_SETS["isbi2012"] = load_isbi2012


def fetch_isbi2012(root: Path, checksums: Mapping[str, str] = ISBI_CHECKSUMS, **transfer: Any) -> None:
    """Downloads the three stacks into `root`, from the public repository or the server in `ISBI_URL_VARIABLE`.

    Args:
        root: becomes a folder with `train/image/N.png`, `train/label/N.png` and `test/image/N.png`.
        checksums: sha256 of each folder's decoded pixels.
        transfer: see `unet_exp.io.download.fetch_files`.

    Raises:
        DataError: as `fetch_files`, and for pixels that are not the published ones.
    """
    url = server_url(ISBI_URL_VARIABLE, _URL)
    layout = "train/image/N.png, train/label/N.png and test/image/N.png"
    job = Download("ISBI-2012", url, _TERMS, root.resolve(), layout, "train/image")
    files = {
        f"{folder}/{number}.png": f"{url}/{served}/{number}.png"
        for folder, served in _SERVED_IN.items()
        for number in range(_SLICES)
    }

    def check(content: Path) -> None:
        digests = {folder: hashlib.sha256() for folder in checksums}
        for name, address in files.items():
            try:
                pixels = read_image(content / name)
            except DataError as error:
                what = str(error).removeprefix(f"{content / name}: ").split(";")[0]
                raise job.failure(address, f"what arrived is no slice ({what})") from None
            digests[name.rpartition("/")[0]].update(pixels.tobytes())
        for folder, wanted in checksums.items():
            if digests[folder].hexdigest() != wanted:
                raise job.failure(f"{url}/{_SERVED_IN[folder]}", "the pixels are not the published ones (sha256)")

    fetch_files(job, files, check, **transfer)


def _read_folders(root: Path) -> tuple[_Slices, _Slices, _Slices]:
    images, labels = _list_by_stem(root / "train" / "image"), _list_by_stem(root / "train" / "label")
    for here, there, what in ((images, labels, "label"), (labels, images, "image")):
        for stem, path in here.items():
            if stem not in there:
                place = root / "train" / what
                raise DataError(f"{path}: has no {what} of the same name in {place}; add it, or move this file away")
    tests: dict[str, Path] = {}
    if (root / "test" / "image").is_dir():
        tests = _list_by_stem(root / "test" / "image")
    elif (root / "test").is_dir() and any((root / "test").glob("[0-9]*.png")):
        # The public repository's layout; pictures such as 0_predict.png stand beside its slices.
        tests = {stem: path for stem, path in _list_by_stem(root / "test").items() if stem.isdecimal()}
    slices, unlabelled = ([(str(path), read_image(path)) for path in paths.values()] for paths in (images, tests))
    return slices, [(str(labels[stem]), read_label(labels[stem])) for stem in images], unlabelled


def _list_by_stem(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: this folder is missing; data.root needs {_LAYOUT}")
    found: dict[str, Path] = {}
    for _, path in list_files(folder, recursive=False).images:
        other = found.setdefault(path.stem, path)
        if other != path:
            raise DataError(f"{path}: has the same name as {other.name}; keep one of the two")
    return found


def _read_stacks(root: Path) -> tuple[_Slices, _Slices, _Slices]:
    paths = [root / f"{name}.tif" for name in ("train-volume", "train-labels", "test-volume")]
    images, labels, tests = (
        [(f"{path}, page {number}", page) for number, page in enumerate(read(path))]
        if path.exists() or path != paths[2]
        else []
        for path, read in zip(paths, (read_pages, read_labels, read_pages), strict=True)
    )
    if len(images) != len(labels):
        raise DataError(f"{paths[1]}: has {len(labels)} pages and {paths[0].name} has {len(images)}; export them again")
    return images, labels, tests


def _to_grey(pixels: Array, source: str) -> Array:
    """(H, W, 1) uint8."""
    if pixels.dtype != np.uint8 or (pixels[:, :, :3] != pixels[:, :, :1]).any():
        raise DataError(f"{source}: is not an 8-bit grey image; save it as one, or take data=folder for other images")
    return np.ascontiguousarray(pixels[:, :, :1])


def _to_label(pixels: Array, source: str, image: Array, image_source: str) -> Array:
    """(H, W) uint8 class indices of the image's size."""
    check_same_size(source, pixels, image, f"its image {image_source}", "save both in one size")
    return decode(pixels, ISBI_CLASSES, source)
