"""The few values a weight may take, and their numbers."""

from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.builders import dense_model
from worker.engine.quantizing.levels import Codebook, Grid, held
from worker.engine.surgery.cloning import clone_with_weights


def floats(values: list[Any]) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def per_tensor(scale: float, zero_point: int = 0, num_bits: int = 4) -> Grid:
    return Grid(
        np.full((1, 1), scale, np.float32), np.full((1, 1), zero_point), num_bits, block=(2, 3)
    )


def test_grid_values_are_scale_times_distance_from_zero_point() -> None:
    values = per_tensor(0.5, zero_point=1).values(np.array([[1, 2, 3], [-1, 0, -8]]))

    np.testing.assert_array_equal(values, floats([[0, 0.5, 1], [-1, -0.5, -4.5]]))
    assert values.dtype == np.float32


def test_grid_numbers_are_those_that_the_values_came_from() -> None:
    grid = Grid(floats([[0.1, 0.3, 0.7]]), np.array([[0, 2, -3]]), 8, block=(2, 1))
    numbers = np.array([[-128, 127, 5], [3, 0, -3]])

    found = grid.numbers(grid.values(numbers))

    assert found is not None
    np.testing.assert_array_equal(found, numbers)


def test_grid_of_groups_repeats_each_scale_over_its_block() -> None:
    grid = Grid(floats([[1], [10]]), np.zeros((2, 1), int), 4, block=(2, 1))

    values = grid.values(np.ones((3, 1), int))

    np.testing.assert_array_equal(values, floats([[1], [1], [10]]))


@pytest.mark.parametrize("off", [0.26, 5.0, np.nan])
def test_grid_has_no_numbers_for_a_weight_beside_it(off: float) -> None:
    weight = floats([[0, 0.5, 1], [-1, off, 0]])

    assert per_tensor(0.5).numbers(weight) is None


def test_grid_has_no_numbers_for_another_shape() -> None:
    grid = Grid(np.ones((1, 3), np.float32), np.zeros((1, 3), int), 4, block=(2, 1))

    assert grid.numbers(np.zeros((2, 2), np.float32)) is None


def test_codebook_numbers_are_indices_of_centroids() -> None:
    book = Codebook(floats([0.3, -0.2, 0]))

    found = book.numbers(floats([[0, 0.3], [-0.2, 0.3]]))

    assert found is not None
    np.testing.assert_array_equal(found, [[2, 0], [1, 0]])


def test_codebook_of_channels_looks_each_one_up_in_its_own() -> None:
    book = Codebook(floats([[1, 2], [3, 4]]), channel_axis=1)
    numbers = np.array([[0, 1], [1, 0], [1, 1]])

    values = book.values(numbers)

    np.testing.assert_array_equal(values, floats([[1, 4], [2, 3], [2, 4]]))
    found = book.numbers(values)
    assert found is not None
    np.testing.assert_array_equal(found, numbers)


def test_codebook_has_no_numbers_for_other_values() -> None:
    assert Codebook(floats([0, 1])).numbers(floats([0.5])) is None


def test_held_drops_levels_that_a_weight_has_left() -> None:
    model = dense_model()
    first, second = (layer.name for layer in model.layers if isinstance(layer, keras.layers.Dense))
    shape = model.get_layer(first).kernel.shape
    quantized = clone_with_weights(model, {f"{first}/kernel": np.ones(shape, np.float32)})
    book = Codebook(floats([0, 1]))

    assert set(held({f"{first}/kernel": book, f"{second}/kernel": book}, quantized)) == {
        f"{first}/kernel"
    }
