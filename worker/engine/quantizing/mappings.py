"""What a number becomes with few bits: evenly spaced values, powers of two, mu-law, a codebook.

Each mapping rounds arrays, and makes nodes of a Keras graph that do the same and load anywhere:
they are functions of Keras itself. Zero always stays zero.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import keras
import numpy as np
from keras.src.ops import core
from keras.src.ops import numpy as keras_numpy
from keras.src.quantizers.quantizers import FakeQuantWithMinMaxVars
from numpy.typing import NDArray

from worker.engine.quantizing.calibration.lloyd_max import nearest
from worker.engine.quantizing.calibration.ranges import Limits

FloatArray = NDArray[np.floating[Any]]

# The least power of two that float32 holds in full.
LEAST_EXPONENT = -126


class Mapping(Protocol):
    """Rounds numbers to few values."""

    def rounded(self, values: FloatArray) -> FloatArray:
        """What each value becomes."""
        ...

    def facts(self) -> dict[str, Any]:
        """What is to be said of it, as plain JSON."""
        ...

    def placed(self, tensor: keras.KerasTensor, name: str) -> keras.KerasTensor:
        """The tensor rounded, by nodes whose names begin with `name`.

        Gradients pass as if nothing was rounded (straight-through estimator).
        """
        ...


@dataclass(frozen=True)
class Linear:
    """2^num_bits evenly spaced values from `low` to `high`, moved so that zero is among them.

    Jacob et al. 2018, arXiv:1712.05877, section 3.
    """

    low: float
    high: float
    num_bits: int

    def facts(self) -> dict[str, Any]:
        return {"from": self.low, "to": self.high, "scale": self.scale}

    @property
    def scale(self) -> float:
        return (self.high - self.low) / (2**self.num_bits - 1)

    def rounded(self, values: FloatArray) -> FloatArray:
        if not self.scale:
            return np.zeros_like(values)
        last = 2**self.num_bits - 1
        zero_point = min(max(np.floor(-self.low / self.scale + 0.5), 0), last)
        numbers = np.clip(np.floor(values / self.scale + 0.5) + zero_point, 0, last)
        return np.asarray((numbers - zero_point) * self.scale)

    def placed(self, tensor: keras.KerasTensor, name: str) -> keras.KerasTensor:
        node = FakeQuantWithMinMaxVars(num_bits=self.num_bits)
        node.name = name
        return node(tensor, self.low, self.high)


@dataclass(frozen=True)
class MuLaw:
    """Evenly spaced values of a logarithmic scale: fine near zero, coarse far from it.

    y = sign(x) ln(1 + mu |x| / limit) / ln(1 + mu), and back (Smith 1957, "Instantaneous companding
    of quantized signals"; ITU-T G.711). Signed values have 2^(num_bits - 1) - 1 levels on each side
    of zero, others 2^num_bits - 1 above it.
    """

    limit: float
    is_signed: bool
    num_bits: int
    mu: float

    def facts(self) -> dict[str, Any]:
        low = -self.limit if self.is_signed else 0.0
        return {"from": low, "to": self.limit, "mu": self.mu}

    @property
    def levels_a_side(self) -> int:
        return 2 ** (self.num_bits - self.is_signed) - 1

    def compressed(self, values: FloatArray) -> FloatArray:
        """On the logarithmic scale, in [-1, 1]."""
        share = np.clip(values / self.limit, -1.0 if self.is_signed else 0.0, 1.0)
        return np.asarray(np.sign(share) * np.log1p(self.mu * np.abs(share)) / np.log1p(self.mu))

    def expanded(self, compressed: FloatArray) -> FloatArray:
        """The inverse of `compressed`."""
        size = np.expm1(np.abs(compressed) * np.log1p(self.mu)) / self.mu
        return np.asarray(np.sign(compressed) * size * self.limit)

    def rounded(self, values: FloatArray) -> FloatArray:
        count = self.levels_a_side
        return self.expanded(np.rint(self.compressed(values) * count) / count)

    def placed(self, tensor: keras.KerasTensor, name: str) -> keras.KerasTensor:
        given = core.StopGradient(name=f"{name}_given")(tensor)
        low = -self.limit if self.is_signed else 0.0
        inside = keras_numpy.Clip(low, self.limit, name=f"{name}_clip")(given)
        sign = keras_numpy.Sign(name=f"{name}_sign")(inside)
        size = keras_numpy.Abs(name=f"{name}_size")(inside)
        scaled = _times(size, self.mu / self.limit, f"{name}_scaled")
        moved = keras_numpy.Add(name=f"{name}_moved")(scaled, 1.0)
        log = keras_numpy.Log(name=f"{name}_log")(moved)
        step = float(np.log1p(self.mu)) / self.levels_a_side
        number = keras_numpy.Round(name=f"{name}_number")(_times(log, 1 / step, f"{name}_steps"))
        power = keras_numpy.Exp(name=f"{name}_exp")(_times(number, step, f"{name}_power"))
        above = keras_numpy.Subtract(name=f"{name}_above")(power, 1.0)
        back = _times(above, self.limit / self.mu, f"{name}_back")
        return _straight_through(tensor, given, _times(back, sign, f"{name}_value"), name)


@dataclass(frozen=True, eq=False)
class Lookup:
    """Any values, of which the nearest is taken: `levels`, [k], rising."""

    levels: FloatArray

    @classmethod
    def powers_of_two(cls, limit: float, *, is_signed: bool, num_bits: int) -> "Lookup":
        """Zero, and the powers of two up to the one nearest to `limit`.

        Miyashita et al. 2016, arXiv:1603.01025, section 3; values are rounded to the nearest power
        by size, not by exponent, and what is nearer to zero than to the least power becomes zero.
        Signed values have 2^(num_bits - 1) - 1 powers of each sign, others 2^num_bits - 1.
        """
        last = round(float(np.log2(limit)))
        first = max(last - 2 ** (num_bits - is_signed) + 2, LEAST_EXPONENT)
        powers = 2.0 ** np.arange(first, last + 1)
        return cls(np.concatenate([-powers[::-1] if is_signed else [], [0.0], powers]))

    def facts(self) -> dict[str, Any]:
        ends = (float(self.levels[0]), float(self.levels[-1]))
        return {"from": ends[0], "to": ends[1], "levels": len(self.levels)}

    @cached_property
    def thresholds(self) -> FloatArray:
        """Half-way between levels, [k - 1]; a value on one takes the lower level."""
        return (self.levels[1:] + self.levels[:-1]) / 2

    def rounded(self, values: FloatArray) -> FloatArray:
        return nearest(values, self.levels)

    def placed(self, tensor: keras.KerasTensor, name: str) -> keras.KerasTensor:
        """Finds the level by halving: a table of 2^n thresholds for the n-th question.

        Comparing with all thresholds at once would hold k times as many values as the tensor.
        """
        given = core.StopGradient(name=f"{name}_given")(tensor)
        depth = max(1, int(np.ceil(np.log2(len(self.levels)))))
        thresholds = np.full(2**depth - 1, np.finfo(np.float32).max, np.float32)
        thresholds[: len(self.thresholds)] = self.thresholds
        levels = np.full(2**depth, self.levels[-1], np.float32)
        levels[: len(self.levels)] = self.levels
        middle = float(thresholds[2 ** (depth - 1) - 1])
        twice = _times(_is_above(given, middle, f"{name}_0"), 2, f"{name}_0_twice")
        for question in range(1, depth):
            at = f"{name}_{question}"
            step = 2 ** (depth - question)
            limit = _looked_up(thresholds[step // 2 - 1 :: step], twice, f"{at}_threshold")
            number = keras_numpy.Add(name=f"{at}_number")(twice, _is_above(given, limit, at))
            twice = _times(number, 2, f"{at}_twice")
        value = _looked_up(levels, twice, f"{name}_level")
        return _straight_through(tensor, given, value, name)


def mapping_within(kind: str, found: Limits, *, num_bits: int, mu: float) -> Mapping:
    """A mapping that needs no more than a range; a codebook needs a histogram."""
    limit = max(-found.low, found.high)
    if kind == "linear" or not limit:
        return Linear(found.low, found.high, num_bits)
    if kind == "mu_law":
        return MuLaw(limit, found.low < 0, num_bits, mu)
    return Lookup.powers_of_two(limit, is_signed=found.low < 0, num_bits=num_bits)


def _times(tensor: keras.KerasTensor, factor: Any, name: str) -> keras.KerasTensor:
    return keras_numpy.Multiply(name=name)(tensor, factor)


def _looked_up(table: FloatArray, twice: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """What stands at half of an even index.

    Whether an index that is nothing but an answer is negative, the tflite converter asks of the
    answer itself, and fails.
    """
    return keras_numpy.Take(name=name)(np.repeat(table, 2), twice)


def _is_above(tensor: keras.KerasTensor, limit: Any, name: str) -> keras.KerasTensor:
    above = keras_numpy.Greater(name=f"{name}_above")(tensor, limit)
    return core.Cast("int32", name=f"{name}_answer")(above)


def _straight_through(
    tensor: keras.KerasTensor, given: keras.KerasTensor, value: keras.KerasTensor, name: str
) -> keras.KerasTensor:
    """`value` to the last bit, with the gradient of `tensor`: what is added to it is exactly 0."""
    rest = keras_numpy.Subtract(name=f"{name}_rest")(tensor, given)
    return keras_numpy.Add(name=name)(value, rest)
