"""Sizes and counts."""

import gzip
from pathlib import Path

import numpy as np

from worker.engine.measuring.sizes import compressed_size_bytes, count_parameters


def test_compressed_size_equals_gzip_level_9_without_name_and_time(tmp_path: Path) -> None:
    content = np.random.default_rng(0).integers(0, 8, 3_000_000).astype(np.uint8).tobytes()
    path = tmp_path / "a-rather-long-name.tflite"
    path.write_bytes(content)
    assert compressed_size_bytes(path) == len(gzip.compress(content, 9, mtime=0))


def test_count_parameters_counts_all_and_those_that_are_not_zero() -> None:
    counts = count_parameters([np.array([[0.0, 1.0], [2.0, 0.0]]), np.array([0.0])])
    assert (counts.parameter_count, counts.nonzero_parameter_count) == (5, 2)
