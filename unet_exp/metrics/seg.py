"""SEG of the Cell Tracking Challenge: how well single cells are outlined."""

import math

import numpy as np
from numpy.typing import NDArray

from unet_exp.config import IGNORE_LABEL
from unet_exp.metrics.overlap import components, overlap


def seg_scores(
    truth: NDArray[np.uint8], instances: NDArray[np.int32], prediction: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """The Jaccard index of each reference object with its match (Maska et al., Bioinformatics 30, 2014).

    Ignored pixels are taken out of both sides first. The predicted objects are then the 4-connected components of
    what is not class 0. An object matches if it covers more than half of the reference object, so there is at most
    one; without a match the index is 0. A predicted object that matches nothing costs nothing. SEG is the mean over
    all reference objects of a set.

    Args:
        truth: (H, W) class indices; only the ignored pixels are looked at.
        instances: (H, W), 0 or the id of a reference object.
        prediction: (H, W) class indices.

    Returns:
        (objects,), each 0..1, in the order of their ids; an object that is ignored altogether is not among them.

    Raises:
        ValueError: for shapes that differ.
    """
    if truth.shape != instances.shape or truth.shape != prediction.shape:
        raise ValueError(
            f"truth {truth.shape}, instances {instances.shape} and prediction {prediction.shape} must have one shape"
        )
    counted = truth != IGNORE_LABEL
    references = np.where(counted, instances, 0)
    predicted = components((prediction != 0) & counted)
    pairs = overlap(references, predicted)
    reference_sizes = np.bincount(pairs.first, weights=pairs.counts)
    predicted_sizes = np.bincount(pairs.second, weights=pairs.counts)
    matches = (pairs.first > 0) & (pairs.second > 0) & (2 * pairs.counts > reference_sizes[pairs.first])
    first, second, both = (values[matches] for values in pairs)
    scores = np.zeros(reference_sizes.size)
    scores[first] = both / (reference_sizes[first] + predicted_sizes[second] - both)
    present: NDArray[np.float64] = scores[1:][reference_sizes[1:] > 0]
    return present


def mean_seg(scores: NDArray[np.float64]) -> float:
    """The mean over objects; nan where there are none."""
    return float(scores.mean()) if scores.size else math.nan
