"""Whole numbers that choose rows of a table: whether a data set has only those of the model."""

from collections.abc import Iterator, Sequence

import keras
import numpy as np

from app.errors import DataNotUsable
from app.recipes.facts import TensorSpec
from worker.engine.loading.datasets import Dataset
from worker.engine.loading.models import input_specs
from worker.engine.loading.splits import Column, IntArray, Split

ROWS_AT_ONCE = 8192


def check_tokens(model: keras.Model, data: Dataset) -> None:
    """Only inputs that go into an Embedding as they are: what comes out of layers nobody knows.

    Raises: DataNotUsable.
    """
    for name, table in _tables(model, input_specs(model)):
        for words, split in (("training", data.train), ("test", data.test)):
            _check(name, table, words, split)


def table_sizes(model: keras.Model, specs: Sequence[TensorSpec]) -> dict[str, int]:
    """Of inputs that choose rows of Embeddings, by name: how many rows the smallest has."""
    sizes: dict[str, int] = {}
    for name, table in _tables(model, specs):
        sizes[name] = min(table.input_dim, sizes.get(name, table.input_dim))
    return sizes


def _tables(
    model: keras.Model, specs: Sequence[TensorSpec]
) -> Iterator[tuple[str, keras.layers.Embedding]]:
    """Inputs by name, with the Embeddings that each goes into."""
    pairs = zip(model.inputs, specs, strict=True)
    names = {id(tensor): spec.name for tensor, spec in pairs}
    for layer in model.layers:
        if not isinstance(layer, keras.layers.Embedding):
            continue
        read = [tensor for call in layer._inbound_nodes for tensor in call.input_tensors]
        for name in {names[id(tensor)]: None for tensor in read if id(tensor) in names}:
            yield name, layer


def _check(name: str, table: keras.layers.Embedding, words: str, split: Split) -> None:
    column = split.columns[name]
    for start in range(0, len(split), ROWS_AT_ONCE):
        found = _outside(column, split.rows[start : start + ROWS_AT_ONCE], table.input_dim)
        if found is None:
            continue
        row, number = found
        last = table.input_dim - 1
        raise DataNotUsable(
            f"input {name!r} goes into layer {table.name!r}, an Embedding of {table.input_dim} "
            f"rows, numbered 0 to {last}; the data set holds {number}, first in {words} row "
            f"{start + row}",
            hint=f"Give words that are not among them a number from 0 to {last}, or upload a "
            "model whose Embedding has as many rows (input_dim) as there are numbers.",
        )


def _outside(column: Column, rows: IntArray, count: int) -> tuple[int, int] | None:
    """The first of `rows` with a number that is not below `count`, and that number."""
    # As the model gets them: a float input may be scaled, and is cut to whole numbers.
    fed = column.fed(rows).reshape(len(rows), -1)
    numbers = np.trunc(fed) if fed.dtype.kind == "f" else fed
    is_outside = (numbers < 0) | (numbers >= count)
    if not is_outside.any():
        return None
    row, place = np.argwhere(is_outside)[0]
    return int(row), int(numbers[row, place])
