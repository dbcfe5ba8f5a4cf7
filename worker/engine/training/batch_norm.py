"""Moving statistics of BatchNormalization during a short training."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras

from worker.engine.surgery.weights import leaves, sublayers

# The statistics' memory, 1 / (1 - momentum) steps, is at most this share of the training.
MEMORY_SHARE = 0.1
FEWEST_STEPS = 20


@contextmanager
def short_memory(model: keras.Model, optimizer_steps: int) -> Iterator[None]:
    """Lower the momentum while training, so that the statistics are those of the new weights.

    With the usual 0.99 a hundred steps would leave 37 % of the statistics of the weights as they
    were before the change. Read when a step is traced; the layers' own momentum comes back after.
    """
    norms = [
        layer
        for leaf in leaves(model)
        for layer in sublayers(leaf.layer)
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    longest = 1 - 1 / (MEMORY_SHARE * max(optimizer_steps, FEWEST_STEPS))
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = min(norm.momentum, longest)
    try:
        yield
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum
