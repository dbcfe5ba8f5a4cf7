"""Rows of a data set as a model is fed with them, and how rows are divided; pure numpy."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from app.datafiles.columns import LARGEST_WHOLE_LABEL
from app.recipes.division import rows_set_aside
from worker.engine.loading.arrays import let_go

Array = NDArray[Any]
IntArray = NDArray[np.int64]

# Of inputs in one pass that nobody asked to be larger.
BATCH_BYTES = 16 << 20


def fed_type(dtype: str) -> np.dtype[Any]:
    """The type of NumPy in which an input of this one is given its values."""
    # NumPy has no bfloat16, and Keras casts what it is given.
    return np.dtype("float32" if dtype == "bfloat16" else dtype)


@dataclass(frozen=True, eq=False)
class Column:
    """One input as it is stored, [stored rows, ...], and how a batch of it becomes what is fed.

    `values` keeps its stored type (uint8 images stay uint8) and may be memory-mapped; only batches
    are scaled: fed = values x scale + offset, as `dtype`. `shape` is that of one fed row.
    """

    values: Array
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: float = 1.0
    offset: float = 0.0

    def fed(self, rows: IntArray) -> Array:
        """The chosen rows as the model takes them, [len(rows), *shape]."""
        batch = np.asarray(self.values[rows]).astype(self.dtype).reshape(len(rows), *self.shape)
        let_go(self.values)
        if self.scale != 1.0:
            batch *= self.dtype.type(self.scale)
        if self.offset != 0.0:
            batch += self.dtype.type(self.offset)
        return batch

    @property
    def row_bytes(self) -> int:
        """Of one fed row."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True, eq=False)
class Split:
    """Chosen rows of the stored arrays.

    `columns` are the inputs by name, in the model's input order. `labels` are by output name, in
    the model's output order, already restricted to `rows`: [len(split), ...]; empty if unlabelled.
    """

    columns: Mapping[str, Column]
    labels: Mapping[str, Array]
    rows: IntArray

    def __len__(self) -> int:
        return len(self.rows)

    def fed(self, positions: IntArray | slice) -> dict[str, Array]:
        """The inputs at these positions of the split (0 = its first row), ready for the model."""
        rows = self.rows[positions]
        return {name: column.fed(rows) for name, column in self.columns.items()}

    def batch_size(self, largest: int) -> int:
        """`largest` rows, or as many as fit into `BATCH_BYTES`; at least one."""
        row_bytes = sum(column.row_bytes for column in self.columns.values())
        return max(1, min(largest, BATCH_BYTES // max(1, row_bytes)))

    def take(self, count: int) -> dict[str, Array]:
        """The first `count` rows (fewer if there are fewer), ready for the model."""
        return self.fed(slice(0, count))

    def sample(self, count: int, *, seed: int) -> dict[str, Array]:
        """`count` rows (fewer if there are fewer), stratified by label, ready for the model."""
        order = stratified_order(self.strata(), np.random.default_rng(seed))
        return self.fed(np.sort(order[:count]))

    def batches(self, batch_size: int) -> Iterator[tuple[dict[str, Array], dict[str, Array]]]:
        """Inputs and labels in stored order; the last batch may be smaller."""
        for start in range(0, len(self), batch_size):
            part = slice(start, start + batch_size)
            yield self.fed(part), {name: values[part] for name, values in self.labels.items()}

    def select(self, positions: IntArray) -> Self:
        """The part of this split at these positions; no input is copied."""
        labels = {name: values[positions] for name, values in self.labels.items()}
        return type(self)(self.columns, labels, self.rows[positions])

    def divided(self, fraction: float, *, seed: int) -> tuple[Self, Self | None]:
        """The rest, and `fraction` of the rows set aside, stratified by label (None if no row)."""
        count = rows_set_aside(len(self), fraction)
        if not count:
            return self, None
        order = stratified_order(self.strata(), np.random.default_rng(seed))
        return self.select(np.sort(order[count:])), self.select(np.sort(order[:count]))

    def strata(self) -> IntArray:
        """A class for each row, by its first label array; all one class if there is none."""
        first = next(iter(self.labels.values()), None)
        return strata(first) if first is not None else np.zeros(len(self), np.int64)


def strata(labels: Array) -> IntArray:
    """Classes to divide evenly, [rows]: class numbers or the hot column; real values give one."""
    is_whole = labels.dtype.kind in "biu" or bool(
        np.all((labels == np.floor(labels)) & (np.abs(labels) <= LARGEST_WHOLE_LABEL))
    )
    flat = labels.reshape(len(labels), -1)
    if not is_whole or flat.shape[1] == 0:
        return np.zeros(len(labels), np.int64)
    keys = flat[:, 0] if flat.shape[1] == 1 else flat.argmax(axis=1)
    return np.asarray(keys, np.int64)


def stratified_order(classes: IntArray, rng: np.random.Generator) -> IntArray:
    """A random order of the rows of which every beginning holds each class in its share.

    classes: [rows]. The r-th of a class's n shuffled rows is placed at (r + 1/2) / n.
    """
    shuffled = rng.permutation(len(classes))
    by_class = shuffled[np.argsort(classes[shuffled], kind="stable")]
    _, starts, counts = np.unique(classes[by_class], return_index=True, return_counts=True)
    rank = np.arange(len(classes)) - np.repeat(starts, counts)
    place = (rank + 0.5) / np.repeat(counts, counts)
    # Ties (the same place in two classes) must not favor low classes: break them at random.
    return by_class[np.lexsort((rng.random(len(classes)), place))]
