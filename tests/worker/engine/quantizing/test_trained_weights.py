"""Where grids of weights in training begin."""

import keras
import numpy as np

from worker.engine.quantizing.trained_weights import rounded
from worker.engine.surgery.kernels import Kernel


def test_a_grid_starts_where_most_weights_are_though_one_is_far_out() -> None:
    weights = (np.random.default_rng(0).standard_normal((10_000, 2)) * 0.05).astype("float32")
    weights[0] = 2.0
    kernel = Kernel("dense/kernel", "dense", keras.Variable(weights), (0,))

    start = rounded(kernel, num_bits=3, per_channel=True, method="lsq", masks={})

    # At a fifth of the outlier, four in five of the others would become zero.
    assert (start.start * 3 < 0.2).all()
    assert np.mean(start.settled() != 0) > 0.4
