"""One gradient as few symbols, and back; traceable."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import tensorflow as tf

from app.recipes.gradients import GradientQuantization
from worker.engine.training.gradients.packing import OF_SYMBOLS, Packing, of_places

SCALE_BYTES = 4
# TernGrad, section 3.3: what lies further out is clipped, or the scale would be that of outliers.
CLIPPED_AT = 2.5
# Scales that are tried for the least error, and about how many coordinates judge them.
HALVINGS = 8
JUDGED_BY = 1 << 15


class Coded(NamedTuple):
    """Symbols int32, [n]; scales float32, [] or one for each channel; places int32, [n] or None."""

    symbols: Any
    scale: Any
    places: Any | None


@dataclass(frozen=True)
class GradientCoder:
    """Codes gradients of one shape.

    With 1 bit the symbols 0 and 1 stand for -scale and scale. With b bits the symbol q in
    [0, 2 levels], levels = 2^(b-1) - 1, stands for (q - levels) x scale. `channel_axes` is how many
    of the last axes have a scale for each index: 0 = one scale in all; 1 for most kernels, whose
    channels come last; 2 for depthwise ones, [h, w, in, multiplier].
    """

    shape: tuple[int, ...]
    options: GradientQuantization
    channel_axes: int = 0

    @property
    def levels(self) -> int:
        """Levels on either side of 0; 0 = there are two values only."""
        return 2 ** (self.options.num_bits - 1) - 1

    @property
    def symbol_count(self) -> int:
        return 2 * self.levels + 1 if self.levels else 2

    @cached_property
    def sent(self) -> int:
        """Coordinates that are sent."""
        share = self.options.top_k_share
        return self._size if share is None else min(self._size, max(1, round(share * self._size)))

    @property
    def message_bytes(self) -> int:
        return (
            SCALE_BYTES * math.prod(self._scale_shape)
            + (self._place_packing.packed_bytes(self.sent) if self._is_sparse else 0)
            + self._packing.packed_bytes(self.sent)
        )

    def coded(self, gradient: Any, seed: Any) -> Coded:
        """gradient: float32, `shape`; seed: int64, [2]: the same one gives the same symbols."""
        places = None
        if self._is_sparse:
            flat = tf.reshape(gradient, [-1])
            places = tf.sort(tf.math.top_k(tf.abs(flat), self.sent, sorted=False).indices)
            # A NaN is not among the largest: it would be left out, and nobody would hear of it.
            is_finite = tf.reduce_all(tf.math.is_finite(flat))
            gradient = tf.where(is_finite, tf.gather(flat, places), math.nan)
        if self.options.rounding == "ternary":
            limit = CLIPPED_AT * self._reduced(tf.math.reduce_std, gradient)
            gradient = tf.clip_by_value(gradient, -limit, limit)
        scale = self._scale(gradient)
        steps = tf.math.divide_no_nan(gradient, scale)
        return Coded(tf.reshape(self._symbols(steps, seed), [-1]), scale, places)

    def values(self, coded: Coded) -> Any:
        """What the symbols stand for: float32, `shape`."""
        steps = tf.cast(coded.symbols, tf.float32)
        steps = steps - self.levels if self.levels else 2.0 * steps - 1.0
        if coded.places is None:
            return tf.reshape(steps, self.shape) * coded.scale
        filled = tf.scatter_nd(coded.places[:, tf.newaxis], steps * coded.scale, [self._size])
        return tf.reshape(filled, self.shape)

    def message(self, coded: Coded) -> Any:
        """uint8, [message_bytes]: scales, places, symbols."""
        parts = [tf.reshape(tf.bitcast(coded.scale, tf.uint8), [-1])]
        if coded.places is not None:
            parts.append(self._place_packing.pack(coded.places, self.sent))
        parts.append(self._packing.pack(coded.symbols, self.sent))
        return tf.concat(parts, axis=0)

    def read(self, message: Any) -> Coded:
        """The inverse of `message`."""
        split = SCALE_BYTES * math.prod(self._scale_shape)
        scale = tf.bitcast(
            tf.reshape(message[:split], [*self._scale_shape, SCALE_BYTES]), tf.float32
        )
        places = None
        if self._is_sparse:
            end = split + self._place_packing.packed_bytes(self.sent)
            places = self._place_packing.unpack(message[split:end], self.sent)
            split = end
        return Coded(self._packing.unpack(message[split:], self.sent), scale, places)

    def _symbols(self, steps: Any, seed: Any) -> Any:
        """steps: the gradient in units of its scale."""
        is_random = self.options.rounding in ("stochastic", "ternary")
        chance = tf.random.stateless_uniform(tf.shape(steps), seed) if is_random else None
        if not self.levels:
            # P(+) = (1 + x) / 2, so that the mean of +1 and -1 is x.
            up = steps >= 0 if chance is None else chance < (1.0 + steps) / 2
            return tf.cast(up, tf.int32)
        rounded = tf.round(steps) if chance is None else tf.floor(steps + chance)
        # A scale is rounded, too: the largest coordinate may lie a little outside.
        limited = tf.clip_by_value(rounded, -float(self.levels), float(self.levels))
        return tf.cast(limited, tf.int32) + self.levels

    def _scale(self, gradient: Any) -> Any:
        magnitudes = tf.abs(gradient)
        if self.levels:
            widest = self._reduced(tf.reduce_max, magnitudes) / self.levels
            is_searched = self.options.rounding == "nearest" and self.options.scale == "least_error"
            return self._of_least_error(widest, gradient) if is_searched else widest
        if self.options.rounding == "stochastic":
            return self._reduced(tf.reduce_max, magnitudes)
        # The mean magnitude is the scale nearest to the gradient for given signs.
        return self._reduced(tf.reduce_mean, magnitudes)

    def _of_least_error(self, widest: Any, gradient: Any) -> Any:
        """Of the widest scale and its halves, the one that leaves the least squared error.

        Gradients have few large values: at the scale of the largest, two bits make 0 of the rest.
        """
        some = gradient
        if gradient.shape.rank > 1:
            # Every n-th row: enough of them to choose by, at a fraction of the time.
            some = gradient[:: max(1, math.prod(self.shape) // JUDGED_BY)]
        best, least = widest, self._error(some, widest)
        for halvings in range(1, HALVINGS):
            scale = widest * 2.0**-halvings
            error = self._error(some, scale)
            best, least = tf.where(error < least, scale, best), tf.minimum(error, least)
        return best

    def _error(self, gradient: Any, scale: Any) -> Any:
        limit = float(self.levels)
        steps = tf.round(tf.math.divide_no_nan(gradient, scale))
        left = gradient - tf.clip_by_value(steps, -limit, limit) * scale
        return self._reduced(tf.reduce_sum, tf.square(left))

    def _reduced(self, reduce: Any, values: Any) -> Any:
        """Over all but the channel axes; broadcasts against the gradient."""
        return reduce(values, axis=list(range(values.shape.rank - self.channel_axes)))

    @property
    def _is_sparse(self) -> bool:
        return self.options.top_k_share is not None

    @property
    def _packing(self) -> Packing:
        return OF_SYMBOLS[self.options.num_bits]

    @property
    def _place_packing(self) -> Packing:
        return of_places(self._size)

    @property
    def _size(self) -> int:
        return math.prod(self.shape)

    @property
    def _scale_shape(self) -> tuple[int, ...]:
        return self.shape[len(self.shape) - self.channel_axes :]


def coder_of(variable: Any, options: GradientQuantization) -> GradientCoder:
    """For gradients of a variable; a vector has one scale, whatever is asked."""
    shape = tuple(variable.shape)
    axes = 0
    if options.granularity == "per_channel" and len(shape) > 1:
        axes = 2 if variable.name == "depthwise_kernel" else 1
    return GradientCoder(shape, options, axes)
