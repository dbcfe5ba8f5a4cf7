"""Blocks of a kernel, and the scale and zero point of each."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from worker.engine.quantizing.weights.granularity import (
    as_blocks,
    block_counts,
    block_of,
    spread,
)
from worker.engine.quantizing.weights.ranges import (
    PART_WEIGHTS,
    SMALLEST_SCALE,
    Range,
    grid_of,
)

NAN = np.nan


def blocks(*rows: list[float]) -> NDArray[np.float64]:
    return np.array(rows, np.float64)


@pytest.mark.parametrize(
    ("shape", "input_axes", "group_size", "block"),
    [
        ((8, 3), (0,), 4, (4, 1)),
        ((8, 3), (0,), 5, (5, 1)),
        ((8, 3), (0,), 100, (8, 1)),
        ((3, 3, 16, 8), (0, 1, 2), 8, (1, 1, 8, 1)),
        ((3, 3, 16, 8), (0, 1, 2), 32, (1, 2, 16, 1)),
        ((3, 3, 2, 8), (0, 1, 2), 13, (2, 3, 2, 1)),
        ((3, 3, 4, 1), (0, 1), 3, (1, 3, 1, 1)),
        ((3, 3, 8, 16), (0, 1, 3), 4, (1, 1, 1, 4)),
    ],
)
def test_a_group_is_of_neighboring_inputs_of_one_output_channels_first(
    shape: tuple[int, ...], input_axes: tuple[int, ...], group_size: int, block: tuple[int, ...]
) -> None:
    assert block_of(shape, input_axes, "per_group", group_size) == block
    assert np.prod(block) <= group_size


def test_a_channel_has_all_inputs_and_a_tensor_everything() -> None:
    assert block_of((3, 3, 4, 8), (0, 1, 2), "per_channel", 32) == (3, 3, 4, 1)
    assert block_of((3, 3, 4, 2), (0, 1), "per_channel", 32) == (3, 3, 1, 1)
    assert block_of((3, 3, 4, 8), (0, 1, 2), "per_tensor", 32) == (3, 3, 4, 8)


def test_blocks_hold_each_weight_once_and_the_last_may_be_shorter() -> None:
    kernel = np.array([[1, 2], [3, 4], [5, 6]], np.float32)

    found = as_blocks(kernel, (2, 1))

    np.testing.assert_array_equal(found, blocks([1, 3], [2, 4], [5, NAN], [6, NAN]))
    assert block_counts(kernel.shape, (2, 1)) == (2, 2)


def test_an_entry_is_spread_over_the_weights_of_its_block() -> None:
    spread_out = spread(np.array([[1, 2], [3, 4]]), (2, 1), (3, 2))

    np.testing.assert_array_equal(spread_out, [[1, 2], [1, 2], [3, 4]])


def test_a_symmetric_scale_reaches_the_largest_magnitude() -> None:
    scale, zero_point = grid_of(
        blocks([-1.27, 0.5], [0.2, 0.254]), Range("min_max", 8, symmetric=True)
    )

    np.testing.assert_allclose(scale, [0.01, 0.002], rtol=1e-6)
    np.testing.assert_array_equal(zero_point, [0, 0])


def test_an_affine_grid_spans_from_the_smallest_to_the_largest_weight() -> None:
    scale, zero_point = grid_of(blocks([-0.5, 1.0]), Range("min_max", 2, symmetric=False))

    # Values 0.5 x (q + 1) for q in -2 .. 1.
    np.testing.assert_allclose(scale, [0.5])
    np.testing.assert_array_equal(zero_point, [-1])


@pytest.mark.parametrize("row", [[0.2, 1.0], [-1.0, -0.2]])
def test_an_affine_grid_holds_zero_though_all_weights_lie_on_one_side(row: list[float]) -> None:
    scale, zero_point = grid_of(blocks(row), Range("min_max", 4, symmetric=False))

    np.testing.assert_allclose(scale, [1 / 15])
    assert zero_point[0] in (-8, 7)


def test_a_range_by_percentile_leaves_outliers_and_zeros_out_of_account() -> None:
    weights = np.concatenate([np.zeros(900), np.linspace(0.01, 1.0, 100), [50.0]])

    scale, _ = grid_of(weights[None], Range("percentile", 8, symmetric=True, percentile=99.0))

    np.testing.assert_allclose(scale * 127, [1.0], rtol=1e-6)


def test_a_percentile_of_an_affine_range_cuts_both_tails() -> None:
    weights = np.linspace(-1.0, 3.0, 401)[None]

    scale, zero_point = grid_of(weights, Range("percentile", 8, symmetric=False, percentile=50.0))

    # A quarter is cut on each side: [0, 2].
    np.testing.assert_allclose(scale * 255, [2.0], rtol=0.02)
    assert zero_point[0] == -128


def test_a_percentile_is_interpolated_and_skips_what_is_no_weight() -> None:
    scale, _ = grid_of(
        blocks([1.0, 3.0, NAN, NAN], [4.0, NAN, NAN, NAN]),
        Range("percentile", 2, symmetric=True, percentile=75.0),
    )

    np.testing.assert_allclose(scale, [2.5, 4.0])


def test_the_range_of_least_squares_is_never_worse_than_min_max() -> None:
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((5, 300))

    errors = {
        method: _error(weights, Range(method, 3, symmetric=True)) for method in ("min_max", "mse")
    }

    assert (errors["mse"] <= errors["min_max"]).all()
    assert errors["mse"].sum() < 0.7 * errors["min_max"].sum()


def test_the_range_of_least_squares_cuts_an_outlier_off() -> None:
    weights = np.concatenate([np.tile([-1.0, 1.0], 500), [2.0]])[None]

    scale, _ = grid_of(weights, Range("mse", 2, symmetric=True))

    np.testing.assert_allclose(scale, [1.0], atol=0.02)


@pytest.mark.parametrize(
    ("outlier", "num_bits", "symmetric", "best"),
    [(3.0, 3, True, 10.77), (3.0, 2, False, 15.85), (1.0, 4, False, 1.36), (1.0, 2, True, 10.40)],
)
def test_the_range_of_least_squares_leaves_far_outliers_out(
    outlier: float, num_bits: int, symmetric: bool, best: float
) -> None:
    """best: the least among thousands of pairs of ends, found by trying them all."""
    weights = np.random.default_rng(0).standard_normal((2, 20_000)) * 0.05
    weights[0, 0] = outlier

    errors = _error(weights, Range("mse", num_bits, symmetric))

    assert errors[0] < 1.02 * best
    # What one channel holds is nothing to another.
    assert errors[1] < 10.0


def test_least_squares_move_each_end_of_an_affine_grid_by_itself() -> None:
    weights = np.concatenate([np.linspace(-0.1, 1.0, 20_000), [-1.5]])[None]

    scale, zero_point = grid_of(weights, Range("mse", 4, symmetric=False))

    low, high = (scale * (end - zero_point) for end in (-8, 7))
    assert -0.5 < low < -0.05
    assert 0.9 < high < 1.1


def test_a_long_block_is_compared_in_parts_and_as_a_whole() -> None:
    weights = np.random.default_rng(1).standard_normal((1, 3 * PART_WEIGHTS // 2))
    # The whole range of the first part holds nothing of the second's.
    weights[0, PART_WEIGHTS:] *= 10

    whole = _error(weights, Range("mse", 4, symmetric=True))

    assert whole < _error(weights, Range("min_max", 4, symmetric=True))
    assert whole / np.square(weights).sum() < 0.03


@pytest.mark.parametrize("num_bits", [2, 8])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("method", ["min_max", "mse"])
def test_no_value_of_a_grid_is_beyond_float32(method: Any, num_bits: int, symmetric: bool) -> None:
    end = float(np.finfo(np.float32).max)
    chosen = Range(method, num_bits, symmetric)

    scale, zero_point = grid_of(blocks([end, -end, 1.0], [-end, 1.0, 0.0], [end, 1.0, 0.0]), chosen)

    for number in (chosen.lowest, chosen.highest):
        assert np.isfinite(scale * (number - zero_point).astype(np.float32)).all()
    assert (scale > end / 2**num_bits / 2).all()


@pytest.mark.parametrize("method", ["min_max", "percentile", "mse"])
@pytest.mark.parametrize("symmetric", [True, False])
def test_blocks_of_zeros_and_of_tiny_weights_have_a_usable_scale(
    method: Any, symmetric: bool
) -> None:
    chosen = Range(method, 8, symmetric, percentile=99.0)

    scale, _ = grid_of(blocks([0.0, 0.0], [1e-43, 0.0], [NAN, NAN]), chosen)

    np.testing.assert_array_equal(scale, np.array([1, SMALLEST_SCALE, 1], np.float32))


def _error(weights: NDArray[Any], chosen: Range) -> NDArray[Any]:
    scale, offset = (part[:, None] for part in grid_of(weights, chosen))
    numbers = np.clip(np.rint(weights / scale) + offset, chosen.lowest, chosen.highest)
    return np.square(weights - scale * (numbers - offset)).sum(axis=1)
