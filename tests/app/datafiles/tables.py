"""Parquet tables as pyarrow writes them, for the tests of what reads them."""

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 40


def columns(rows: int = ROWS) -> dict[str, Any]:
    return {
        "a": np.arange(rows, dtype=np.int16),
        "b": np.arange(rows, dtype=np.float32) / 10,
        "kind": np.arange(rows) % 3,
    }


def parquet(content: Any = None, **how: Any) -> bytes:
    """The bytes of a table of these columns, written as told."""
    file = io.BytesIO()
    pq.write_table(pa.table(columns() if content is None else content), file, **how)
    return file.getvalue()
