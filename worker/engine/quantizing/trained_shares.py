"""Clustered weights whose shared values end on int8 numbers, each on one."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from worker.engine.clustering.shared_weights import SharedWeights
from worker.engine.quantizing.int8_levels import rounded_codebook
from worker.engine.quantizing.levels import Codebook, IntArray
from worker.engine.surgery.weights import named_weights
from worker.engine.training.interventions import Reparametrization


class RoundedShares(SharedWeights):
    """Trains shared values; what is evaluated and exported has them on int8 numbers."""

    def __init__(self, model: keras.Model, books: Mapping[str, Codebook]) -> None:
        super().__init__(model, books)
        self._variables = named_weights(model)
        self._numbers: dict[str, IntArray] = {}
        for name, book in super().books().items():
            numbers = book.numbers(self._variables[name].numpy())
            if numbers is not None:
                self._numbers[name] = numbers

    def settle(self) -> None:
        for name, book in self.books().items():
            self._variables[name].assign(book.values(self._numbers[name]))

    def books(self) -> dict[str, Codebook]:
        """The codebooks, every value of which is a whole number times one scale."""
        return {
            name: rounded_codebook(book, self._numbers[name])
            for name, book in super().books().items()
        }


class Together:
    """Several reparametrizations of different weights as one."""

    def __init__(self, parts: Sequence[Reparametrization]) -> None:
        self._parts = tuple(parts)

    @property
    def replaced(self) -> list[keras.Variable]:
        return [one for part in self._parts for one in part.replaced]

    @property
    def trained(self) -> list[keras.Variable]:
        return [one for part in self._parts for one in part.trained]

    @property
    def state(self) -> list[keras.Variable]:
        return [one for part in self._parts for one in part.state]

    def values(self) -> list[tuple[keras.Variable, Any]]:
        return [value for part in self._parts for value in part.values()]

    def penalty(self) -> Any:
        return tf.add_n([part.penalty() for part in self._parts])

    def settle(self) -> None:
        for part in self._parts:
            part.settle()

    def fingerprint(self) -> str:
        return "; ".join(part.fingerprint() for part in self._parts)
