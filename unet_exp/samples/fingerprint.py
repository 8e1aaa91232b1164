"""A fingerprint of a data set: equal for equal images, masks, names and splits, wherever they are kept.

Of a user's masks the values count as they are stored, and what the config makes of them.
"""

import hashlib
import json

import numpy as np

from unet_exp.io.arrays import Array
from unet_exp.samples.data_set import SPLITS, DataSet
from unet_exp.samples.sample import KINDS, Images

VERSION = 2
"""Of the fingerprints of today. Version 1 hashes every pixel of the set in one go, and says no version."""


def fingerprint(dataset: DataSet, version: int = VERSION) -> str:
    """The fingerprint of a data set.

    Args:
        dataset: it.
        version: 2 hashes the digests of images, which are known; 1, which earlier runs have, reads every image.

    Returns:
        `<version>:` and sha256 in hexadecimal; of version 1 the hash alone.
    """
    if version == 1:
        return _hash_pixels(dataset)
    digest = hashlib.sha256(dataset.meaning.encode())
    for split in SPLITS:
        images: Images = getattr(dataset, split)
        digest.update(json.dumps([split, len(images)]).encode())
        for name in images.names:
            digest.update(name.encode() + b"\n")
        digest.update(np.ascontiguousarray(images.facts.contents).data)
    return f"{VERSION}:{digest.hexdigest()}"


def find_version(known: str | None) -> int:
    """The version of a fingerprint."""
    head, colon, _ = (known or "").partition(":")
    return int(head) if colon and head.isdecimal() else 1


def _hash_pixels(dataset: DataSet) -> str:
    """Hashes split names, sample names, shapes, types, pixels, labels, given instances and valid pixels."""
    digest = hashlib.sha256()
    for split in SPLITS:
        images: Images = getattr(dataset, split)
        kinds = [kind for kind in KINDS if kind != "instances" or not images.finds_instances]
        for sample in images:
            for kind in kinds:
                array: Array | None = getattr(sample, kind)
                if array is not None:
                    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
                    header = json.dumps([split, sample.name, kind, list(little.shape), little.dtype.str])
                    digest.update(header.encode() + b"\n")
                    digest.update(little.data)
    return digest.hexdigest()
