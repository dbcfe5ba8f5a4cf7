"""From weights to the integers of a grid, each weight by itself."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.integer[Any]]

# A product in float32 is off by up to half of this share.
FLOAT32_ERROR = float(np.finfo(np.float32).eps)


def nearest(
    weights: FloatArray, scale: FloatArray, zero_point: IntArray, lowest: int, highest: int
) -> NDArray[np.int32]:
    """clip(round(w / scale) + zero_point); all arrays broadcast; halves go to the even neighbor."""
    steps = np.rint(np.divide(weights, scale, dtype=np.float64))
    return np.clip(steps + zero_point, lowest, highest).astype(np.int32)


def stochastic(
    weights: FloatArray,
    scale: FloatArray,
    zero_point: IntArray,
    lowest: int,
    highest: int,
    rng: np.random.Generator,
) -> NDArray[np.int32]:
    """clip(floor(w / scale + u) + zero_point), u uniform in [0, 1).

    Up with the chance of the fraction, so the mean is w / scale where nothing is clipped, and a
    weight that lies on the grid stays (Gupta et al. 2015, arXiv:1502.02551, section 3).
    """
    steps = np.divide(weights, scale, dtype=np.float64)
    whole = np.rint(steps)
    is_on_grid = np.abs(steps - whole) <= FLOAT32_ERROR * np.abs(whole)
    steps = np.where(is_on_grid, whole, np.floor(steps + rng.random(weights.shape)))
    return np.clip(steps + zero_point, lowest, highest).astype(np.int32)
