"""Constants in fewer bytes than their shape says, and those of real files."""

from pathlib import Path

import keras
import numpy as np
import pytest

from worker.engine.exporting.source import KerasSource
from worker.engine.exporting.tflite import convert_sparse
from worker.engine.exporting.weight_only import quantize_weights
from worker.engine.measuring.matching import find_kernel
from worker.engine.measuring.tflite_constants import Level, Sparsity, dense, unpacked_int4
from worker.engine.measuring.tflite_file import read_tflite


def test_unpacked_int4_has_the_first_number_in_the_low_half() -> None:
    raw = np.array([0x21, 0xF8, 0x07], np.uint8)
    np.testing.assert_array_equal(unpacked_int4(raw, 5), [1, 2, -8, -1, 7])


def test_dense_puts_rows_of_non_zeros_back() -> None:
    rows = Level(3, None, None)
    columns = Level(0, np.array([0, 2, 2, 3]), np.array([0, 3, 1]))
    values = np.array([5.0, 6.0, 7.0], np.float32)
    np.testing.assert_array_equal(
        dense(values, (3, 4), Sparsity((0, 1), (), (rows, columns))),
        [[5, 0, 0, 6], [0, 0, 0, 0], [0, 7, 0, 0]],
    )


def test_dense_puts_blocks_back() -> None:
    """Blocks of one row and two columns: the third level lies inside axis 1."""
    rows = Level(2, None, None)
    blocks = Level(0, np.array([0, 1, 2]), np.array([1, 0]))
    inside = Level(2, None, None)
    values = np.array([1.0, 2.0, 3.0, 4.0], np.float32)
    np.testing.assert_array_equal(
        dense(values, (2, 4), Sparsity((0, 1, 2), (1,), (rows, blocks, inside))),
        [[0, 0, 1, 2], [3, 4, 0, 0]],
    )


@pytest.mark.parametrize(
    ("segments", "indices"),
    [
        ([0, 2, 2, 10**12], [0, 3, 1]),
        ([0, 2, 2, 3], [0, 3, 4]),
        ([0, 2], [0, 3, 1]),
        ([0, 2, 2, 3], [0]),
    ],
)
def test_dense_refuses_levels_that_lead_nowhere(segments: list[int], indices: list[int]) -> None:
    levels = (Level(3, None, None), Level(0, np.array(segments), np.array(indices)))
    with pytest.raises((ValueError, IndexError)):
        dense(np.ones(3, np.float32), (3, 4), Sparsity((0, 1), (), levels))


def sparse_dense_model() -> keras.Model:
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((40,), name="x"), keras.layers.Dense(32, name="wide")])
    kernel, bias = model.get_weights()
    keep = np.random.default_rng(3).uniform(size=kernel.shape) > 0.9
    model.set_weights([kernel * keep, bias])
    return model


def test_kernel_of_a_sparse_file_is_read_with_its_zeros(tmp_path: Path) -> None:
    model = sparse_dense_model()
    file = read_tflite(convert_sparse(KerasSource(model, tmp_path, {}).saved_model_for_tflite()))
    kernel = np.asarray(model.layers[0].kernel)
    found = find_kernel(kernel, file.weights)
    assert found is not None
    assert found.sparsity is not None
    assert found.raw.nbytes < kernel.nbytes / 5
    np.testing.assert_array_equal(found.values, kernel.T)


def test_kernel_of_a_4_bit_file_is_read_back(tmp_path: Path) -> None:
    model = sparse_dense_model()
    content = quantize_weights(KerasSource(model, tmp_path, {}).float32(), 4)
    kernel = np.asarray(model.layers[0].kernel)
    (found,) = [one for one in read_tflite(content).weights if one.type_name == "INT4"]
    off = np.abs(found.values - kernel.T).max(axis=1)
    assert (off <= 0.501 * found.scale).all()
