"""How the slices of a stack are split into parts that train, validate and test."""

from typing import Literal, NamedTuple

import numpy as np

from unet_exp.errors import ConfigError

STANDARD_COUNT = 30
"""Slices of the standard split: train 0-19, validate 20-23, test 24-29."""
MIN_FOLDS = 3


class Split(NamedTuple):
    """Indices of the slices of each part."""

    train: list[int]
    val: list[int]
    test: list[int]


def split_indices(count: int, fold: int, folds: int | None, mode: Literal["held_out", "all"] = "held_out") -> Split:
    """Splits the slices of a stack into contiguous blocks, for neighbours look alike.

    Args:
        count: number of labelled slices.
        fold: the block that tests; the next one (the first after the last) validates, the rest trains.
        folds: number of blocks, or 0 or None: train 0-19, validate 20-23, test 24-29 of 30 slices.
        mode: `all` trains on every slice and tests none; validation then is on slices seen in training (20-23
            of 30, the same share of fewer) and only monitors.

    Raises:
        ConfigError: for a fold that there is not, or too many or too few slices for the split.
    """
    folds = folds or 0
    if mode not in ("held_out", "all"):
        raise ConfigError(f"data.split={mode} is unknown; take held_out or all")
    if mode == "all":
        if folds or fold:
            raise ConfigError("data.split=all trains on every slice: leave data.fold and data.folds at 0")
        if count < 1:
            raise ConfigError("data.split=all needs at least one labelled slice")
        start = count * 20 // STANDARD_COUNT
        stop = max(start + 1, count * 24 // STANDARD_COUNT)
        return Split(list(range(count)), list(range(start, stop)), [])
    if not folds:
        if fold:
            raise ConfigError(f"data.fold={fold} needs data.folds ({MIN_FOLDS} or more)")
        if count != STANDARD_COUNT:
            raise ConfigError(
                f"the standard split needs {STANDARD_COUNT} labelled slices and there are {count}: "
                f"set data.folds ({MIN_FOLDS} or more), or data.split=all"
            )
        return Split(list(range(20)), list(range(20, 24)), list(range(24, 30)))
    if folds < MIN_FOLDS:
        raise ConfigError(f"data.folds={folds} must be 0 (the standard split) or at least {MIN_FOLDS}")
    if folds > count:
        raise ConfigError(f"data.folds={folds} is more than the {count} labelled slices: set it to {count} at most")
    if not 0 <= fold < folds:
        raise ConfigError(f"data.fold={fold} must be 0 or more and less than data.folds={folds}")
    blocks = [block.tolist() for block in np.array_split(np.arange(count), folds)]
    test, val = blocks[fold], blocks[(fold + 1) % folds]
    return Split([index for block in blocks if block not in (test, val) for index in block], val, test)
