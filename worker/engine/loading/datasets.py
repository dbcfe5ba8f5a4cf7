"""A data set in the form its model takes: inputs matched, checked and split."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from app.errors import DataNotUsable
from app.recipes.facts import DatasetOptions, Head, TensorSpec, shape_text
from app.recipes.fit import fitted_shape
from app.recipes.task import LabelsDoNotFit, Task, understand
from worker.engine.loading.arrays import Array, ArraysByName, Stored, StoredData, first_not_finite
from worker.engine.loading.csv_table import read_csv
from worker.engine.loading.image_folder import read_images
from worker.engine.loading.labels import label_facts
from worker.engine.loading.npz import read_npz
from worker.engine.loading.parquet_table import read_parquet
from worker.engine.loading.splits import Column, Split, fed_type
from worker.engine.order import DatasetFile

__all__ = ["Column", "Dataset", "Split", "load_dataset", "read_tasks"]

# The test rows of a file without a test split depend on the file alone, not on a recipe's seed:
# jobs on the same data stay comparable.
SPLIT_SEED = 0


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test rows, and what was done to them, in words for the report."""

    train: Split
    test: Split
    notes: tuple[str, ...]


def load_dataset(
    file: DatasetFile, inputs: Sequence[TensorSpec], outputs: Sequence[str]
) -> Dataset:
    """Read a data set for a model with these inputs and these output names, in the model's order.

    Raises: DataNotUsable if it is damaged, holds NaN, or does not fit the model.
    """
    options = file.options
    data = _stored(file)
    notes = list(data.notes)
    train = _split(data.train, inputs, outputs, options)
    if data.test is None:
        train, test = _divided(train, options.test_fraction)
        notes.append(f"{len(test)} of {len(train) + len(test)} rows were set aside for testing")
    else:
        test = _split(data.test, inputs, outputs, options)
        _check_alike(train, test)
    notes.extend(_notes(train.columns, options))
    return Dataset(train, test, tuple(notes))


def _stored(file: DatasetFile) -> StoredData:
    match file.format:
        case "npz":
            return read_npz(file.path)
        case "csv":
            return read_csv(file.path, file.options.label)
        case "parquet":
            return read_parquet(file.path, file.options.label)
        case "images":
            return read_images(file.path)


def read_tasks(heads: Sequence[Head], data: Dataset) -> tuple[Task, ...]:
    """What every output means for these labels, in the model's output order; none if unlabelled.

    Raises: DataNotUsable if the labels do not fit an output.
    """
    if not data.train.labels:
        return ()
    tasks: list[Task] = []
    for head in heads:
        both = (data.train.labels[head.output], data.test.labels[head.output])
        try:
            tasks.append(understand(head, label_facts(head.output, np.concatenate(both))))
        except LabelsDoNotFit as error:
            raise DataNotUsable(error.detail, hint=error.hint) from error
    return tuple(tasks)


def _split(
    stored: Stored, inputs: Sequence[TensorSpec], outputs: Sequence[str], options: DatasetOptions
) -> Split:
    _check_arrays(stored)
    arrays = _matched("input", stored.inputs, [spec.name for spec in inputs])
    columns = {spec.name: _column(spec, arrays[spec.name], options) for spec in inputs}
    labels = _matched("output", stored.labels, outputs) if stored.labels else {}
    rows = len(next(iter(columns.values())).values)
    return Split(columns, labels, np.arange(rows))


def _check_alike(train: Split, test: Split) -> None:
    """What is there to train must be there to test, in the same shape."""
    if bool(train.labels) != bool(test.labels):
        raise DataNotUsable(
            "only one of the training and the test rows have labels",
            hint="Give both y_train and y_test, or neither.",
        )
    for name, values in train.labels.items():
        ours, theirs = values.shape[1:], test.labels[name].shape[1:]
        if ours != theirs:
            raise DataNotUsable(
                f"labels of output {name!r} have rows of shape {shape_text(ours)} in training and "
                f"{shape_text(theirs)} in test"
            )


def _check_arrays(stored: Stored) -> None:
    lengths = {name: len(array) if array.ndim else 0 for name, array in stored.arrays()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        shown = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise DataNotUsable(
            f"the arrays must have the same number of rows, at least one; rows: {shown}"
        )
    for name, array in stored.arrays():
        if array.dtype.kind not in "biuf":
            raise DataNotUsable(
                f"array {name} has type {array.dtype}; numbers are needed",
                hint="Encode words and dates as numbers before the upload.",
            )
        row = first_not_finite(array)
        if row is not None:
            raise DataNotUsable(
                f"array {name} holds NaN or infinity, first in row {row}",
                hint="Fill or drop such rows before the upload.",
            )


def _matched(kind: str, arrays: ArraysByName, names: Sequence[str]) -> dict[str, Array]:
    """Arrays under the model's names and in its order: by name, or the only one to the only one."""
    if len(arrays) == len(names) == 1:
        return {names[0]: next(iter(arrays.values()))}
    if set(arrays) != set(names):
        letter = "x" if kind == "input" else "y"
        given = ", ".join(name or letter for name in arrays)
        raise DataNotUsable(
            f"the model has the {kind}s {', '.join(names)}; the data set has {given}",
            hint=f"Name the arrays {letter}_train.<{kind} name>, one for each {kind}.",
        )
    return {name: arrays[name] for name in names}


def _column(spec: TensorSpec, values: Array, options: DatasetOptions) -> Column:
    shape = fitted_shape(values.shape[1:], spec.shape)
    if shape is None:
        raise DataNotUsable(
            f"input {spec.name!r} takes rows of shape {shape_text(spec.shape)}; the data set's "
            f"rows have shape {shape_text(values.shape[1:])}"
        )
    dtype = fed_type(spec.dtype)
    if dtype.kind != "f":
        return Column(values, shape, dtype)
    return Column(values, shape, dtype, options.scale, options.offset)


def _divided(split: Split, test_fraction: float) -> tuple[Split, Split]:
    train, test = split.divided(test_fraction, seed=SPLIT_SEED)
    if test is None:
        raise DataNotUsable(
            f"{len(split)} rows cannot be split with a test_fraction of {test_fraction:g}: one "
            "side would be empty",
            hint="Give more rows or another test_fraction.",
        )
    return train, test


def _notes(columns: Mapping[str, Column], options: DatasetOptions) -> Iterable[str]:
    is_scaled = (options.scale, options.offset) != (1.0, 0.0)
    for name, column in columns.items():
        if column.values.shape[1:] != column.shape:
            yield f"input {name!r}: a channel axis was added, rows are {shape_text(column.shape)}"
        if is_scaled and column.dtype.kind == "f":
            yield f"input {name!r}: value = raw x {options.scale:g} + {options.offset:g}"
        elif is_scaled:
            yield f"input {name!r} takes {column.dtype}: scale and offset are not applied to it"
