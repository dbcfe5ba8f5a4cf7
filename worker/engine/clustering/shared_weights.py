"""Weights that stay in their clusters while a model trains (Han et al. 2016, section 3)."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from worker.engine.clustering.books import flat_indices
from worker.engine.quantizing.levels import Codebook, LevelsByName
from worker.engine.surgery.weights import named_weights


@dataclass(frozen=True, eq=False)
class Shared:
    """One weight as indices into a list of values that is trained.

    indices: int32, shaped like the weight, into `centroids` read in a row. is_moving: bool, shaped
    like `centroids`; what does not move is 0.
    """

    name: str
    weight: keras.Variable
    book: Codebook
    centroids: keras.Variable
    indices: tf.Tensor
    is_moving: tf.Tensor

    def value(self) -> tf.Tensor:
        """The weight as its centroids now make it.

        The gradient of a centroid is the sum of those of its members (equation 3): gather's own.
        The reshape makes it dense; an optimizer would square entries of a sparse one, not sums.
        """
        return tf.gather(tf.reshape(self._held(), [-1]), self.indices)

    def present_book(self) -> Codebook:
        """The codebook with its centroids as they are now."""
        return replace(self.book, centroids=self._held().numpy())

    def _held(self) -> tf.Tensor:
        return tf.where(self.is_moving, self.centroids.value, 0.0)


class SharedWeights:
    """Trains centroids in place of weights; which centroid an entry has never changes.

    A `Reparametrization` (training/interventions.py). `books`: by stable weight name; each weight
    must lie on its codebook, as those of `StepContext.levels` do. Frozen weights and other levels
    are left alone. `keeps_zero` holds centroids that are exactly 0, so pruned weights stay pruned.
    Raises: ValueError for a weight that is not on its codebook.
    """

    def __init__(self, model: keras.Model, books: LevelsByName, *, keeps_zero: bool = True) -> None:
        weights = named_weights(model)
        self._keeps_zero = keeps_zero
        self._shared = tuple(
            _shared(name, weights[name], book, keeps_zero=keeps_zero)
            for name, book in books.items()
            if isinstance(book, Codebook) and name in weights and weights[name].trainable
        )

    @property
    def replaced(self) -> list[keras.Variable]:
        return [one.weight for one in self._shared]

    @property
    def trained(self) -> list[keras.Variable]:
        return [one.centroids for one in self._shared]

    @property
    def state(self) -> list[keras.Variable]:
        return []

    def values(self) -> list[tuple[keras.Variable, Any]]:
        return [(one.weight, one.value()) for one in self._shared]

    def penalty(self) -> Any:
        return tf.zeros(())

    def settle(self) -> None:
        for one in self._shared:
            one.weight.assign(one.value())

    def fingerprint(self) -> str:
        """The indices follow from the weights, which a checkpoint knows, and these values."""
        digest = hashlib.sha256(f"shared weights, keeps zero: {self._keeps_zero}".encode())
        for one in self._shared:
            digest.update(one.name.encode())
            digest.update(one.book.centroids.tobytes())
        return digest.hexdigest()

    def books(self) -> dict[str, Codebook]:
        """The codebooks with the centroids as they are now; order and numbers stay."""
        return {one.name: one.present_book() for one in self._shared}


class FixedWeights:
    """Keeps weights out of a training: a `Reparametrization` that computes nothing.

    Unlike `trainable = False` it leaves the configuration of layers, which is saved, as it is.
    """

    def __init__(self, model: keras.Model, names: Mapping[str, Any]) -> None:
        weights = named_weights(model)
        self._weights = {name: weights[name] for name in names}

    @property
    def replaced(self) -> list[keras.Variable]:
        return list(self._weights.values())

    @property
    def trained(self) -> list[keras.Variable]:
        return []

    @property
    def state(self) -> list[keras.Variable]:
        return []

    def values(self) -> list[tuple[keras.Variable, Any]]:
        return []

    def penalty(self) -> Any:
        return tf.zeros(())

    def settle(self) -> None:
        """What is fixed has its values already."""

    def fingerprint(self) -> str:
        return "fixed weights: " + ", ".join(self._weights)


def _shared(name: str, weight: keras.Variable, book: Codebook, *, keeps_zero: bool) -> Shared:
    numbers = book.numbers(weight.numpy())
    if numbers is None:
        raise ValueError(f"{name} does not lie on its codebook")
    is_moving = book.centroids != 0 if keeps_zero else np.ones(book.centroids.shape, np.bool_)
    return Shared(
        name=name,
        weight=weight,
        book=book,
        centroids=keras.Variable(book.centroids, name="centroids"),
        indices=tf.constant(flat_indices(book, numbers)),
        is_moving=tf.constant(is_moving),
    )
