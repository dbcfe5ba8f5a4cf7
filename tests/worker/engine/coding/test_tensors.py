"""Tensors through the coder and back, to the last bit, each in the form that suits it."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from worker.engine.coding.stream import Stream
from worker.engine.coding.tensors import read_tensor, write_tensor
from worker.engine.progress import never_cancelled
from worker.engine.quantizing.levels import Codebook, Grid, Levels

Array = NDArray[Any]


def there_and_back(*tensors: tuple[Array, Levels | None]) -> int:
    """Write, read, compare bits. Returns how many bytes it took."""
    stream = Stream.writing(never_cancelled)
    for tensor, levels in tensors:
        write_tensor(stream, tensor, levels)
    code = stream.finish()
    reading = Stream.reading(code, never_cancelled)
    for tensor, _ in tensors:
        again = read_tensor(reading, tensor.shape, tensor.dtype)
        assert (again.dtype, again.shape) == (tensor.dtype, tensor.shape)
        assert again.tobytes() == tensor.tobytes()
    return len(code)


def normal(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(3).normal(size=shape).astype(np.float32)


def per_channel(weight: NDArray[np.float32], num_bits: int) -> tuple[NDArray[np.float32], Grid]:
    """Symmetric, on the last axis."""
    most = (1 << (num_bits - 1)) - 1
    axes = tuple(range(weight.ndim - 1))
    scale = (np.abs(weight).max(axis=axes, keepdims=True) / most).astype(np.float32)
    grid = Grid(scale, np.zeros(scale.shape, np.int32), num_bits, (*weight.shape[:-1], 1))
    return grid.values(np.rint(weight / scale).astype(np.int32)), grid


@pytest.mark.parametrize("num_bits", [2, 4, 8, 12])
def test_grid_of_each_channel_takes_fewer_bytes_than_its_numbers(num_bits: int) -> None:
    values, grid = per_channel(normal(3, 3, 8, 16), num_bits)
    assert there_and_back((values, grid)) < values.size * num_bits / 8 + 4 * 16 + 10


def test_grid_of_groups_and_zero_points_comes_back() -> None:
    scale = np.array([[0.1], [0.25]], np.float32)
    grid = Grid(scale, np.array([[3], [-7]], np.int32), 8, (4, 5))
    numbers = np.random.default_rng(1).integers(-60, 60, (7, 5)).astype(np.int32)
    assert there_and_back((grid.values(numbers), grid)) < 7 * 5 + 15


def test_grid_is_seen_where_nobody_told_of_it() -> None:
    values = np.rint(normal(40, 30)) * np.float32(0.37)
    grid = Grid(np.full((1, 1), 0.37, np.float32), np.zeros((1, 1), np.int32), 8, (40, 30))
    assert there_and_back((values, None)) <= there_and_back((values, grid)) + 2


def test_negative_zeros_of_a_pruned_grid_come_back() -> None:
    values, grid = per_channel(normal(20, 10), 4)
    values[::2] *= np.float32(-0.0)
    assert np.signbit(values[values == 0]).any()
    assert there_and_back((values, grid)) < 200


@pytest.mark.parametrize("channel_axis", [None, 0, 1, 2])
def test_codebook_comes_back(channel_axis: int | None) -> None:
    rng = np.random.default_rng(2)
    if channel_axis is None:
        levels, count = Codebook(np.sort(normal(16))), 16
    else:
        levels, count = Codebook(np.sort(normal((4, 5, 6)[channel_axis], 4)), channel_axis), 4
    values = levels.values(rng.integers(0, count, (4, 5, 6)))
    assert there_and_back((values, levels)) < values.nbytes / 3


def test_sparse_floats_cost_what_is_not_zero() -> None:
    weight = normal(50, 40)
    weight[np.random.default_rng(4).random(weight.shape) < 0.95] = 0
    assert there_and_back((weight, None)) < np.count_nonzero(weight) * 5


@pytest.mark.parametrize("is_grid", [True, False])
def test_a_large_pruned_tensor_is_written_as_numbers_of_its_levels(is_grid: bool) -> None:
    """4,900 of 280,000 entries on eight values: their places and numbers, and no floats."""
    shape = (560, 500)
    rng = np.random.default_rng(5)
    numbers = np.where(rng.random(shape) < 0.0175, rng.integers(-4, 4, shape), 0)
    grid = Grid(np.full((1, 1), 0.37, np.float32), np.zeros((1, 1), np.int32), 4, shape)
    book = Codebook(np.sort(normal(7)))
    values = np.append(book.centroids, np.float32(0))[numbers] * (numbers != 0)
    levels = grid if is_grid else Codebook(np.append(book.centroids, np.float32(0)))
    weight = grid.values(numbers) if is_grid else values.astype(np.float32)
    assert levels.numbers(weight) is not None
    assert there_and_back((weight, levels)) < 280_000 * 0.127 / 8 + 4_900 * 3 / 8 + 300


def test_payloads_of_nan_and_signs_of_zero_come_back() -> None:
    weight = normal(6, 5)
    weight.view(np.uint32)[0] = (0x7FC00001, 0xFFC12345, 0x7F800001, 0x80000000, 0xFF800000)
    there_and_back((weight, None), (np.full(9, -0.0, np.float32), None))


@pytest.mark.parametrize(
    "dtype",
    ["bool", "int8", "uint8", "int16", "int32", "int64", "uint32", "uint64", "float16", "float64"],
)
@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (7,), (6, 1, 4)])
def test_every_type_and_shape_comes_back(dtype: str, shape: tuple[int, ...]) -> None:
    tensor = (np.random.default_rng(5).normal(size=shape) * 50).astype(np.int64).astype(dtype)
    there_and_back((tensor, None))


@pytest.mark.parametrize("number", [2**31 - 1, -(2**31), 2**30, 20, 21, -20])
def test_large_numbers_come_back(number: int) -> None:
    there_and_back((np.array([0, 1, number, 0, -1, number], np.int64), None))


def test_what_one_kernel_leaves_dead_costs_little_in_the_next() -> None:
    rng = np.random.default_rng(6)
    first = rng.integers(-2, 3, (30, 60)).astype(np.float32)
    first[:, rng.random(60) < 0.5] = 0
    second = rng.integers(-2, 3, (60, 20)).astype(np.float32)
    second[~first.any(axis=0)] = 0
    shuffled = second[rng.permutation(60)]
    together = there_and_back((first, None), (second, None))
    assert together < there_and_back((first, None), (shuffled, None))
