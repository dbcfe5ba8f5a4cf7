"""Weights as whole numbers times a learned step, trained through the rounding."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from worker.engine.context import BoolArray, Masks
from worker.engine.quantizing.levels import Grid, IntArray
from worker.engine.rate.prices import code_length_bits, prices
from worker.engine.surgery.masks import as_matrix, from_matrix

# Numbers before rounding learn so many times as fast as weights and the logarithms of steps: a step
# is about a sixteenth in trained nets, so that a learning rate means the same as everywhere else.
LATENT_RATE = 16.0


@dataclass(frozen=True)
class Coded:
    """A weight that is to be coded. `input_axes` lead over the rows of the matrix it is seen as."""

    name: str
    variable: keras.Variable
    input_axes: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.variable.shape)

    def matrix(self, numbers: IntArray) -> IntArray:
        """The numbers as the coder's densities see them: [inputs, outputs]."""
        if not self.shape or len(self.input_axes) == len(self.shape):
            return numbers.reshape(-1, 1)
        return as_matrix(numbers, self.input_axes)

    def from_matrix(self, matrix: Any) -> Any:
        """Back in the weight's shape."""
        if not self.shape or len(self.input_axes) == len(self.shape):
            return matrix.reshape(self.shape)
        return from_matrix(matrix, self.shape, self.input_axes)


class Latent:
    """One coded weight: `step * round(latents)`, with the price of every level of every entry."""

    def __init__(self, coded: Coded, step: float, kept: BoolArray | None) -> None:
        """kept: False where the weight stays zero whatever happens; null = nowhere."""
        weight = np.asarray(coded.variable.numpy(), np.float64)
        self.coded = coded
        self.initial_step = step
        self.slow = keras.Variable((weight / step / LATENT_RATE).astype(np.float32), name="slow")
        # Relative to the initial step, so that a weight decay draws it there and not to 1.
        self.log_step = keras.Variable(np.float32(0), name="log_step")
        self.first = keras.Variable(np.zeros(coded.shape, np.float32), name="first")
        self.further = keras.Variable(np.float32(0), name="further")
        self._kept = None if kept is None else tf.constant(kept)

    def value(self) -> Any:
        """The weight as the model is given it; traceable."""
        numbers = rounded(LATENT_RATE * self.slow.value)
        if self._kept is not None:
            numbers = tf.where(self._kept, numbers, tf.zeros_like(numbers))
        return self.initial_step * tf.exp(self.log_step.value) * numbers

    def bits(self) -> Any:
        """sum(first * min(|latents|, 1) + further * max(|latents| - 1, 0)); traceable.

        Linear between whole numbers, so that latents below a half are still drawn to zero.
        """
        size = tf.abs(LATENT_RATE * self.slow.value)
        woken = self.first.value * tf.minimum(size, 1.0)
        return tf.reduce_sum(woken + self.further.value * tf.nn.relu(size - 1.0))

    def numbers(self) -> IntArray:
        """The whole numbers as they are now."""
        numbers = np.rint(LATENT_RATE * self.slow.numpy()).astype(np.int32)
        return numbers if self._kept is None else np.where(self._kept.numpy(), numbers, 0)

    @property
    def step(self) -> np.float32:
        """What one level is worth."""
        grown = np.exp(np.float64(self.log_step.numpy()))
        return np.float32(self.initial_step * grown)

    def grid(self, shape: Sequence[int]) -> Grid:
        """The levels of this weight, also where channels were taken out of it since."""
        return per_tensor_grid(self.step, self.numbers(), shape)

    def settle(self) -> None:
        numbers = self.numbers()
        self.coded.variable.assign(self.grid(self.coded.shape).values(numbers))

    def renew_prices(self) -> float:
        """Take prices from the numbers as they are now; returns the bits these come to."""
        matrix = self.coded.matrix(self.numbers())
        now = prices(matrix)
        self.first.assign(self.coded.from_matrix(now.first))
        self.further.assign(now.further)
        return code_length_bits(matrix)


class Latents:
    """The reparametrization of all coded weights, and what a bit of them adds to the loss."""

    def __init__(self, each: Sequence[Latent]) -> None:
        self.each = tuple(each)
        self.bit_cost = keras.Variable(np.float32(0), name="bit_cost")

    @classmethod
    def of(cls, coded: Sequence[Coded], steps: Mapping[str, float], masks: Masks) -> "Latents":
        """steps: the initial ones by name; masks: those of earlier pruning."""
        return cls([Latent(one, steps[one.name], masks.get(one.name)) for one in coded])

    @property
    def replaced(self) -> list[keras.Variable]:
        return [one.coded.variable for one in self.each]

    @property
    def trained(self) -> list[keras.Variable]:
        return [variable for one in self.each for variable in (one.slow, one.log_step)]

    @property
    def state(self) -> list[keras.Variable]:
        priced = [variable for one in self.each for variable in (one.first, one.further)]
        return [*priced, self.bit_cost]

    def values(self) -> list[tuple[keras.Variable, Any]]:
        return [(one.coded.variable, one.value()) for one in self.each]

    def penalty(self) -> Any:
        return self.bit_cost.value * tf.add_n([one.bits() for one in self.each])

    def settle(self) -> None:
        for one in self.each:
            one.settle()

    def renew_prices(self) -> float:
        """Take all prices from the numbers as they are now; returns the bits these come to."""
        return sum(one.renew_prices() for one in self.each)

    def fingerprint(self) -> str:
        return repr([(one.coded.name, one.coded.input_axes, float(one.step)) for one in self.each])


def _passed_on(upstream: Any) -> Any:
    return upstream


@tf.custom_gradient
def rounded(latents: Any) -> Any:
    """The nearest whole numbers; the gradient of rounding taken as 1 (arXiv:1308.3432)."""
    return tf.round(latents), _passed_on


def per_tensor_grid(step: np.float32, numbers: IntArray, shape: Sequence[int]) -> Grid:
    """One symmetric step for a whole weight of this shape, with as few bits as the numbers need."""
    ones = (1,) * len(shape)
    return Grid(
        scale=np.full(ones, step, np.float32),
        zero_point=np.zeros(ones, np.int32),
        num_bits=bits_of(numbers),
        block=tuple(shape),
    )


def bits_of(numbers: IntArray) -> int:
    """The fewest bits, at least 2, that a signed number of each of these fits into."""
    lowest, highest = int(numbers.min(initial=0)), int(numbers.max(initial=0))
    return max(2, 1 + max(highest.bit_length(), (-lowest - 1).bit_length() if lowest else 0))
