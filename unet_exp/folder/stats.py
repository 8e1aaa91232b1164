"""What is known of an image and of its mask, found once when they are read.

Counts are of stored values, whatever classes the config names: other classes need no new look at the files.
"""

import hashlib
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from unet_exp.config import IGNORE_LABEL, ClassSpec
from unet_exp.errors import DataError
from unet_exp.folder.groups import SplitItem
from unet_exp.folder.origin import Item
from unet_exp.folder.pages import ImageKind, PairPage, take_channels
from unet_exp.folder.rules import Rules
from unet_exp.io.arrays import Array
from unet_exp.io.pixel_size import PixelSize
from unet_exp.io.scene import Scene
from unet_exp.io.valid import Valid, find_fill
from unet_exp.samples.classes import UnknownValues, Value, decode, read_codes, shows_colors, stored_value
from unet_exp.samples.facts import digest_array, image_digest
from unet_exp.samples.moments import Moments, count_values, summarize

IGNORED: Value = 2**64
"""Value of ignored pixels in data that have none for it; no file holds it."""
_KEPT = 256


@dataclass(frozen=True)
class MaskStats:
    """Statistics of a mask.

    Attributes:
        counts: pixels of the most common grey values or (red, green, blue), equal channels as grey.
        rest: pixels of all other values.
        distinct: number of values.
        lit: number of values but 0 or black: of objects, where each has a number or colour of its own.
        is_image: whether these are the pixels of the image.
        objects: pixels of background, of objects and ignored ones, where touching objects are opened; None where masks
            hold classes, or negative numbers.
        declares: whether it is of a kind that may declare values as nodata.
        changed: its pixels that were given the value of a class, see `PairPage`.
        file: where they are; empty for data that are not a user's files.
    """

    counts: dict[Value, int]
    rest: int = 0
    distinct: int = 0
    lit: int = 0
    is_image: bool = False
    objects: tuple[int, int, int] | None = None
    declares: bool = False
    changed: int = 0
    file: str = ""


@dataclass(frozen=True)
class ImageStats:
    """Statistics of one image (a page of a stack) and its mask.

    Attributes:
        item: its name in splits.
        files: its own and those of its mask; None for data that are not a user's files.
        page: its index in the file.
        height: pixels.
        width: pixels.
        kind: its channels.
        used: how many of its first channels the statistics are of.
        dtype: as stored: uint8, uint16 or float32.
        low: smallest valid value.
        high: largest valid value.
        moments: of its valid values.
        digest: of the pixels, see `image_digest`; equal for equal images.
        content: digest of pixels, mask and valid pixels.
        mask: None without a mask.
        turned: whether its file says that it is stored in another orientation.
        fill: a value that fills a region at the border, as where nothing was recorded; None without one.
        pixel_size: what the file declares; None where it does not.
    """

    item: SplitItem
    files: Item | None
    page: int
    height: int
    width: int
    kind: ImageKind
    used: int
    dtype: str
    low: float
    high: float
    moments: Moments
    digest: bytes
    content: bytes
    mask: MaskStats | None
    turned: bool = False
    fill: float | None = None
    pixel_size: PixelSize | None = None

    @property
    def mean(self) -> float:
        """Of all valid values, integers divided by their type's largest."""
        return float(self.moments.mean.mean())

    @property
    def source(self) -> str:
        """What messages call it: its file, or its name where it has none."""
        return self.item.name if self.files is None else str(self.files.image)

    @property
    def invalid(self) -> float:
        """Share of the pixels without data, 0..1; they are left out of all statistics."""
        return 1 - self.moments.pixels / (self.height * self.width)


def describe_page(files: Item | None, number: int, page: PairPage, rules: Rules, used: int | None = None) -> ImageStats:
    """Finds the statistics of a page and of its mask.

    Args:
        files: of the page.
        number: of the page in its file.
        page: as read.
        rules: by which it was read.
        used: channels that count; None: all but an opaque alpha.

    Raises:
        DataError: for a mask with transparent, fractional or, of objects, negative pixels.
    """
    mask, parts = None, []
    if page.mask is not None and files is not None and files.mask is not None:
        codes, mask = _describe_mask(page, page.mask, str(files.mask), rules, files.declares)
        parts.append(digest_array(codes, "mask"))
    parts += [digest_array(valid, "valid") for valid in (page.scene.valid, page.labelled) if valid is not None]
    found = describe_image(page.item, page.scene, mask, used)
    content = hashlib.sha256(found.digest + b"".join(parts)).digest()
    return replace(found, files=files, page=number, content=content, pixel_size=page.pixel_size)


def describe_image(item: SplitItem, scene: Scene, mask: MaskStats | None, used: int | None = None) -> ImageStats:
    """Finds the statistics of an image; arguments as for `describe_page`."""
    image, valid, turned = scene
    kind = ImageKind.of(scene)
    if used is None:
        used = 3 if kind.opaque else kind.channels
    shown = take_channels(image, used)
    moments, (low, high) = summarize(shown, valid)
    digest = bytes.fromhex(image_digest(shown))
    return ImageStats(
        item=item,
        files=None,
        page=0,
        height=image.shape[0],
        width=image.shape[1],
        kind=kind,
        used=used,
        dtype=str(image.dtype),
        low=low,
        high=high,
        moments=moments,
        digest=digest,
        content=digest,
        mask=mask,
        turned=turned,
        fill=find_fill(shown, valid),
    )


def _describe_mask(page: PairPage, pixels: Array, path: str, rules: Rules, declares: bool) -> tuple[Array, MaskStats]:
    """Counts the values of a mask where it and its image hold data; also returns them as whole numbers (H, W)."""
    valid = page.labelled
    colored = shows_colors(pixels, valid)
    codes = np.ascontiguousarray(read_codes(pixels, colored, path, valid))
    if valid is not None:
        codes = np.where(valid, codes, 0)
    counts = _count_colors(pixels, path, valid) if colored else _count_greys(codes, valid)
    objects = None
    if rules.objects:
        with suppress(DataError):  # negative numbers
            label = rules.label(pixels, path, valid)[0]
            found = np.bincount(label.ravel(), minlength=256)
            objects = int(found[0]), int(found[1]), int(found[IGNORE_LABEL])
    kept = dict(counts.most_common(_KEPT))
    stats = MaskStats(
        counts=kept,
        rest=counts.total() - sum(kept.values()),
        distinct=len(counts),
        lit=len(counts.keys() - {0}),
        is_image=np.array_equal(pixels, page.scene.pixels),
        objects=objects,
        declares=declares,
        changed=page.changed,
        file=path,
    )
    return codes, stats


def _count_greys(codes: Array, valid: Valid) -> Counter[Value]:
    if codes.dtype in (np.uint8, np.uint16):
        counts = count_values(codes[:, :, None], valid)[0]
        return Counter({value: int(counts[value]) for value in np.flatnonzero(counts).tolist()})
    found, numbers = np.unique(codes if valid is None else codes[valid], return_counts=True)
    return Counter(dict(zip(found.tolist(), numbers.tolist(), strict=True)))


def _count_colors(pixels: Array, path: str, valid: Valid) -> Counter[Value]:
    """Counts the pixels of each colour: `decode` counts those without a class, and the only class here is black."""
    pixels = pixels if valid is None else pixels[valid][:, None]
    counts: Counter[Value] = Counter()
    try:
        decode(pixels, [ClassSpec(name="black", value=[0, 0, 0], color=[0, 0, 0])], path)
    except UnknownValues as error:
        for value, count in error.counts.items():
            counts[stored_value(value)] += count
    return counts + Counter({0: pixels.shape[0] * pixels.shape[1] - counts.total()})
