"""The decoder above an encoder in plain integers: what it sees, against sets of pixels, and its channels."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unet_exp.geometry import FUSIONS, Architecture, EncoderArchitecture, channels_above, decoder_channels, seen_radius

DECODER = Architecture("same", "exact", 4, 2, 3, 2, "concat", "batch", "transposed")


def seen_by_sets(decoder: Architecture, seen: dict[int, tuple[int, int]]) -> int:
    """The same as `seen_radius`, pixel by pixel."""

    def image_pixels(level: int, pixels: set[int]) -> set[int]:
        side, (left, right) = 1 << (level - 1), seen[level]
        return {place for pixel in pixels for place in range(side * pixel - left, side * pixel + right + 1)}

    def find(level: int, pixels: set[int]) -> set[int]:
        if level == decoder.depth:
            return image_pixels(level, pixels)
        read = {pixel + offset for pixel in pixels for offset in range(-2, 3)}
        # Bilinear doubling reads the coarse pixel that covers a pixel, and its neighbour on the nearer side.
        near = {pixel // 2 + (1 if pixel % 2 else -1) for pixel in read} if decoder.upsample == "bilinear" else set()
        below = find(level + 1, {pixel // 2 for pixel in read} | near)
        return below | (image_pixels(level, read) if level in seen else set())

    return max(abs(place - pixel) for pixel in range(1 << (decoder.depth - 1)) for place in find(1, {pixel}))


@given(
    depth=st.integers(2, 4),
    upsample=st.sampled_from(["transposed", "bilinear"]),
    ends=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=4, max_size=4),
    skipped=st.sets(st.integers(1, 3)),
)
def test_what_it_sees_is_what_sets_of_pixels_see(
    depth: int, upsample: str, ends: list[tuple[int, int]], skipped: set[int]
) -> None:
    decoder = replace(DECODER, depth=depth, upsample=upsample)  # type: ignore[arg-type]
    seen = {level: ends[level - 1] for level in range(1, depth + 1) if level == depth or level not in skipped}
    assert seen_radius(decoder, seen) == seen_by_sets(decoder, seen)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_on_the_maps_of_a_unet_it_is_that_of_the_unet(fusion: str) -> None:
    decoder = replace(DECODER, fusion=fusion)
    assert channels_above(decoder, {1: 2, 2: 4, 3: 8, 4: 16}) == decoder_channels(decoder)


def test_a_level_without_a_map_up_samples_to_its_own_channels() -> None:
    coarse, middle, fine = channels_above(DECODER, {3: 40, 4: 80})
    assert (coarse.below, coarse.up, coarse.skip, coarse.fused, coarse.out) == (80, 40, 40, 80, 8)
    assert (middle.below, middle.up, middle.skip, middle.fused, middle.out) == (8, 4, None, 4, 4)
    assert (fine.below, fine.up, fine.skip, fine.fused, fine.out) == (4, 2, None, 2, 2)


@pytest.mark.parametrize(
    ("norm", "radius", "exact"), [("batch", 40, True), ("instance", 40, False), ("none", None, False)]
)
def test_its_sizes(norm: str, radius: int | None, exact: bool) -> None:
    made = EncoderArchitecture("resnet34", replace(DECODER, norm=norm), radius)  # type: ignore[arg-type]
    sizes = made.sizes
    assert (sizes.smallest, sizes.step, sizes.total_stride, sizes.lost_border) == (16, 8, 8, 0)
    assert sizes.receptive_field_radius == (32 if radius is None else radius)
    assert made.has_exact_tiles == exact
    assert (made.in_channels, made.out_channels) == (3, 2)
