"""Ranges of activations that follow a training: averages over batches, or learned."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from worker.engine.quantizing.fake_quant import Range
from worker.engine.quantizing.points import Point
from worker.engine.quantizing.ranged import Elementwise

# A batch counts a hundredth.
MEMORY = 0.99
LEAST_WIDTH = 1e-6


class TrainedRange(Elementwise):
    """Rounds what it is given to 2^num_bits values in a range that the training finds.

    `mode` "moving_average": of the smallest and largest value of each batch, starting with the
    given ones. "learned": trained, in units of the width of the given range, by the gradients of
    tf.quantization.fake_quant_with_min_max_vars, which are those of the values it clips (Jain et
    al. 2019, arXiv:1903.08066). "fixed": as given.
    """

    def __init__(self, mode: str, num_bits: int, start: Sequence[float], **options: Any) -> None:
        super().__init__(**options)
        self.mode, self.num_bits, self.start = mode, num_bits, tuple(start)

    def build(self, input_shape: Any) -> None:
        self.minimum, self.maximum = (
            self.add_weight(
                name=name,
                shape=(),
                initializer=keras.initializers.Constant(value / self._unit),
                trainable=self.mode == "learned",
                autocast=False,
            )
            for name, value in zip(("minimum", "maximum"), self.start, strict=True)
        )

    def call(self, tensor: Any, training: bool | None = None) -> Any:
        values = tf.cast(tensor, tf.float32)
        if training and self.mode == "moving_average":
            self._follow(self.minimum, tf.reduce_min(values))
            self._follow(self.maximum, tf.reduce_max(values))
        low = tf.minimum(tf.convert_to_tensor(self.minimum) * self._unit, 0.0)
        high = tf.maximum(tf.convert_to_tensor(self.maximum) * self._unit, 0.0)
        rounded = tf.quantization.fake_quant_with_min_max_vars(
            values, low, tf.maximum(high, low + LEAST_WIDTH), num_bits=self.num_bits
        )
        return tf.cast(rounded, tensor.dtype)

    def found(self) -> Range:
        """The range as it is now."""
        low, high = (float(end.numpy() * self._unit) for end in (self.minimum, self.maximum))
        return Range(low, high, self.num_bits)

    def get_config(self) -> dict[str, Any]:
        """Of what a checkpoint must have started with; the layer is never saved."""
        own = {"mode": self.mode, "num_bits": self.num_bits, "start": self.start}
        return {**super().get_config(), **own}

    @property
    def _unit(self) -> float:
        low, high = self.start
        return max(high - low, LEAST_WIDTH)

    def _follow(self, variable: keras.Variable, value: Any) -> None:
        before = tf.convert_to_tensor(variable)
        variable.assign(before * MEMORY + value / self._unit * (1 - MEMORY))


def range_layers(
    points: Iterable[Point], starts: Mapping[str, Range], mode: str
) -> dict[str, TrainedRange]:
    """A layer for each point that has a start, by its name; one for all points of a group.

    A point of an output whose limits runtimes fix gets none: a loss is not to see probabilities
    rounded.
    """
    by_group: dict[str, TrainedRange] = {}
    found: dict[str, TrainedRange] = {}
    for point in points:
        start = starts.get(point.name)
        if start is None:
            continue
        if point.group not in by_group:
            by_group[point.group] = TrainedRange(
                "fixed" if point.limits else mode,
                start.num_bits,
                (start.minimum, start.maximum),
                name=f"range_{len(by_group)}",
            )
        found[point.name] = by_group[point.group]
    return found


class Watched(Elementwise):
    """Remembers the smallest and largest value that came by; changes nothing."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.low, self.high = float("inf"), float("-inf")

    def call(self, tensor: Any) -> Any:
        if tf.executing_eagerly() and not isinstance(tensor, keras.KerasTensor):
            self.low = min(self.low, float(tf.reduce_min(tensor)))
            self.high = max(self.high, float(tf.reduce_max(tensor)))
        return tensor

    def found(self, num_bits: int) -> Range:
        """The range that holds all of it."""
        return Range(self.low, self.high, num_bits)
