"""How a label array is encoded, read from its values; pure numpy."""

from typing import Literal

import numpy as np

from app.recipes.facts import LabelArray
from worker.engine.loading.arrays import Array

Encoding = Literal["integer", "one_hot", "multi_hot", "real"]


def label_facts(name: str | None, labels: Array) -> LabelArray:
    """The facts `understand` needs. labels: [rows, ...], finite and at least one row."""
    encoding = _encoding(labels)
    class_count = {
        "integer": len(np.unique(labels)) if encoding == "integer" else None,
        "one_hot": labels.shape[-1] if labels.ndim else None,
        "multi_hot": labels.shape[-1] if labels.ndim else None,
        "real": None,
    }[encoding]
    return LabelArray(
        name=name,
        shape=labels.shape[1:],
        dtype=str(labels.dtype),
        encoding=encoding,
        class_count=class_count,
        minimum=float(labels.min()),
        maximum=float(labels.max()),
    )


def _encoding(labels: Array) -> Encoding:
    if labels.dtype.kind not in "biu" and not np.array_equal(labels, np.floor(labels)):
        return "real"
    is_single = labels.ndim == 1 or labels.shape[-1] == 1
    if is_single or labels.min() < 0 or labels.max() > 1:
        return "integer"
    if np.all(labels.sum(axis=-1) == 1):
        return "one_hot"
    return "multi_hot"
