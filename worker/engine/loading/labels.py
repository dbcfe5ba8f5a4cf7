"""How a label array is encoded, read from its values; pure numpy."""

import numpy as np

from app.recipes.facts import LabelArray
from app.recipes.labels import label_encoding
from worker.engine.loading.arrays import Array


def label_facts(name: str | None, labels: Array) -> LabelArray:
    """The facts `understand` needs. labels: [rows, ...], finite, at least one row."""
    row_shape = labels.shape[1:]
    encoding = label_encoding(
        row_shape=row_shape,
        is_float=labels.dtype.kind == "f",
        is_binary=bool(((labels == 0) | (labels == 1)).all()),
        is_one_hot=bool(row_shape) and bool((labels.sum(axis=-1, dtype=np.float64) == 1).all()),
    )
    columns = row_shape[-1] if row_shape else None
    class_count = {
        "integer": len(np.unique(labels)) if encoding == "integer" else None,
        "one_hot": columns,
        "multi_hot": columns,
        "real": None,
    }[encoding]
    return LabelArray(
        name=name,
        shape=row_shape,
        dtype=labels.dtype.name,
        encoding=encoding,
        class_count=class_count,
        minimum=float(labels.min()),
        maximum=float(labels.max()),
    )
