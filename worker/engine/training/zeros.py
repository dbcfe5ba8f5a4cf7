"""Keeps pruned weights at zero while a model trains."""

import keras
import numpy as np
import tensorflow as tf

from worker.engine.context import Masks
from worker.engine.surgery.weights import named_weights


class HeldZeros:
    """Masks on the device, multiplied in after every optimizer step, inside the same graph.

    `select`, not a product: 0 x -1 is -0.0, which is a different byte and compresses worse.
    """

    def __init__(self, model: keras.Model, masks: Masks) -> None:
        weights = named_weights(model)
        self._weights = {name: weights[name] for name in masks}
        self._masks = {
            name: tf.Variable(mask, trainable=False, dtype=tf.bool) for name, mask in masks.items()
        }

    def hold(self) -> None:
        """Zero what is masked; traceable."""
        for name, weight in self._weights.items():
            weight.assign(tf.where(self._masks[name], weight, tf.zeros((), weight.dtype)))

    def change(self, masks: Masks) -> None:
        """Take new masks for some or all of the same weights, and zero at once."""
        for name, mask in masks.items():
            self._masks[name].assign(np.asarray(mask))
        self.hold()

    @property
    def masks(self) -> Masks:
        return {name: mask.numpy() for name, mask in self._masks.items()}
