"""What is learned of an array while its pieces stream by: range, NaN, how labels are encoded."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import RejectedUpload
from app.recipes.facts import InputArray, LabelArray
from app.recipes.labels import label_encoding

Array = NDArray[Any]
MAX_DISTINCT = 100_000


class Range:
    """Smallest and largest value; pieces may have any shape and come in any order."""

    def __init__(self) -> None:
        self.minimum = np.inf
        self.maximum = -np.inf
        self.not_finite = 0

    def add(self, piece: Array) -> None:
        if piece.size == 0:
            return
        if piece.dtype.kind == "f" and not np.isfinite(piece).all():
            is_finite = np.isfinite(piece)
            self.not_finite += int(piece.size - is_finite.sum())
            return
        self.minimum = min(self.minimum, float(piece.min()))
        self.maximum = max(self.maximum, float(piece.max()))

    def require_finite(self, shown: str) -> None:
        """Raises: RejectedUpload."""
        if self.not_finite:
            raise RejectedUpload(
                f"{self.not_finite} values of {shown!r} are NaN or infinite",
                hint="Fill or drop such rows before the upload.",
            )

    def as_input(self, name: str | None, shape: tuple[int, ...], dtype: str) -> InputArray:
        return InputArray(
            name=name, shape=shape, dtype=dtype, minimum=self.minimum, maximum=self.maximum
        )


class Labels:
    """A label array; pieces are whole rows, [some rows, *row_shape], finite."""

    def __init__(self) -> None:
        self._range = Range()
        self._is_binary = True
        self._is_one_hot = True
        self._distinct: set[float] | None = set()

    def add(self, piece: Array) -> None:
        self._range.add(piece)
        if self._range.not_finite:
            return
        self._is_binary = self._is_binary and bool(((piece == 0) | (piece == 1)).all())
        if self._is_one_hot and piece.ndim > 1:
            self._is_one_hot = bool((piece.sum(axis=-1, dtype=np.float64) == 1).all())
        if self._distinct is not None:
            self._distinct.update(np.unique(piece).tolist())
            if len(self._distinct) > MAX_DISTINCT:
                self._distinct = None

    def require_finite(self, shown: str) -> None:
        """Raises: RejectedUpload."""
        self._range.require_finite(shown)

    def as_labels(
        self, name: str | None, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> LabelArray:
        encoding = label_encoding(
            row_shape=shape,
            is_float=dtype.kind == "f",
            is_binary=self._is_binary,
            is_one_hot=self._is_one_hot,
        )
        distinct = len(self._distinct) if self._distinct is not None else None
        return LabelArray(
            name=name,
            shape=shape,
            dtype=dtype.name,
            encoding=encoding,
            class_count={
                "integer": distinct,
                "one_hot": shape[-1] if shape else None,
                "multi_hot": shape[-1] if shape else None,
                "real": None,
            }[encoding],
            minimum=self._range.minimum,
            maximum=self._range.maximum,
        )
