"""Gradients as symbols: against the formulas in numpy, and through bytes and back."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from app.recipes.gradients import GradientQuantization
from worker.engine.training.gradients.packing import OF_SYMBOLS, of_places
from worker.engine.training.gradients.rounding import GradientCoder, coder_of

pytestmark = pytest.mark.slow

Array = NDArray[Any]
SEED = tf.constant([5, 7], tf.int64)
EVERY = [
    *(
        {"num_bits": bits, "rounding": rounding}
        for bits in range(1, 9)
        for rounding in ("nearest", "stochastic")
    ),
    {"rounding": "sign"},
    {"rounding": "ternary"},
    {"rounding": "top_k", "num_bits": 4, "top_k_share": 0.1},
    {"rounding": "top_k", "num_bits": 1, "top_k_share": 0.1},
]


def coder(shape: tuple[int, ...], axes: int = 0, **options: Any) -> GradientCoder:
    return GradientCoder(shape, GradientQuantization.model_validate(options), axes)


def gradient(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def coded(one: GradientCoder, values: Array) -> Array:
    return one.values(one.coded(tf.constant(values), SEED)).numpy()


def test_nearest_takes_the_nearest_of_the_levels() -> None:
    values = np.array([[-0.9, 0.2], [0.31, 0.1]], np.float32)

    # 2 bits: -1, 0, 1 times 0.9. 3 bits: -3 ... 3 times 0.3.
    np.testing.assert_allclose(
        coded(coder((2, 2), num_bits=2, scale="largest"), values),
        [[-0.9, 0.0], [0.0, 0.0]],
        atol=1e-6,
    )
    np.testing.assert_allclose(
        coded(coder((2, 2), num_bits=3, scale="largest"), values),
        [[-0.9, 0.3], [0.3, 0.0]],
        atol=1e-6,
    )


def test_the_scale_is_that_of_the_least_error() -> None:
    """One large value among many small ones: at its scale all others would be 0."""
    values = np.concatenate([np.full(999, 0.25, np.float32), [4.0]]).astype(np.float32)

    np.testing.assert_allclose(coded(coder((1000,), num_bits=2), values)[:999], 0.25)
    largest = coded(coder((1000,), num_bits=2, scale="largest"), values)
    np.testing.assert_allclose(largest, [*[0.0] * 999, 4.0])


@pytest.mark.parametrize(("bits", "axes"), [(2, 0), (4, 0), (2, 1), (8, 1)])
def test_least_error_is_no_worse_than_the_largest(bits: int, axes: int) -> None:
    values = gradient(40, 6) ** 3

    errors = [
        np.square(coded(coder((40, 6), axes, num_bits=bits, scale=scale), values) - values).sum(0)
        for scale in ("least_error", "largest")
    ]

    assert (errors[0] <= errors[1] + 1e-6).all() if axes else errors[0].sum() <= errors[1].sum()


def test_sign_is_scaled_by_the_mean_magnitude() -> None:
    values = np.array([-3.0, 1.0, 2.0, -2.0], np.float32)

    np.testing.assert_allclose(coded(coder((4,), rounding="sign"), values), [-2, 2, 2, -2])
    np.testing.assert_allclose(coded(coder((4,), num_bits=1), values), [-2, 2, 2, -2])


def test_top_k_keeps_the_largest_where_they_are() -> None:
    values = np.array([[0.1, -4.0, 0.3], [2.0, -0.2, 0.0]], np.float32)
    one = coder((2, 3), rounding="top_k", top_k_share=1 / 3)

    np.testing.assert_allclose(coded(one, values), [[0, -4, 0], [2, 0, 0]], atol=0.02)


@pytest.mark.parametrize("bits", range(2, 9))
def test_nearest_is_what_numpy_says(bits: int) -> None:
    values, levels = gradient(20, 30), 2 ** (bits - 1) - 1
    scale = np.abs(values).max() / levels

    found = coded(coder((20, 30), num_bits=bits, scale="largest"), values)

    np.testing.assert_allclose(found, np.round(values / scale) * scale, rtol=1e-5, atol=1e-6)


def test_ternary_clips_what_lies_far_out() -> None:
    values = np.concatenate([np.full(99, 0.1, np.float32), [9.0]]).astype(np.float32)

    found = coded(coder((100,), rounding="ternary"), values)

    np.testing.assert_allclose(np.abs(found).max(), 2.5 * values.std(), rtol=1e-5)


@pytest.mark.parametrize("options", [{"num_bits": 1}, {"num_bits": 2}, {"num_bits": 4}])
def test_stochastic_rounding_is_right_on_average(options: dict[str, Any]) -> None:
    values, draws = gradient(6), 4000
    one = coder((draws, 6), rounding="stochastic", **options)

    seen = coded(one, np.tile(values, (draws, 1)))

    # Five standard errors, of the widest step there is.
    step = 2 * np.abs(values).max() / max(1, one.levels)
    np.testing.assert_allclose(seen.mean(0), values, atol=5 * step / 2 / np.sqrt(draws))
    assert seen.std(0).max() > 0


def test_the_same_seed_gives_the_same_chances() -> None:
    one, values = coder((50,), rounding="stochastic", num_bits=2), tf.constant(gradient(50))
    first, again = one.coded(values, SEED), one.coded(values, SEED)
    other = one.coded(values, SEED + 1)

    np.testing.assert_array_equal(first.symbols, again.symbols)
    assert (first.symbols.numpy() != other.symbols.numpy()).any()


@pytest.mark.parametrize("options", EVERY, ids=str)
def test_what_goes_through_bytes_comes_out_as_it_was(options: dict[str, Any]) -> None:
    for shape in ((7, 11), (3,), (1,)):
        one = coder(shape, **options)
        symbols = one.coded(tf.constant(gradient(*shape)), SEED)

        message = one.message(symbols)

        assert message.dtype == tf.uint8
        assert message.shape == (one.message_bytes,)
        np.testing.assert_array_equal(one.values(one.read(message)), one.values(symbols))
        assert symbols.symbols.numpy().max() < one.symbol_count


@pytest.mark.parametrize("bits", sorted(OF_SYMBOLS))
def test_every_symbol_survives_packing(bits: int) -> None:
    packing = OF_SYMBOLS[bits]
    numbers = np.arange(1000) % packing.radix

    packed = packing.pack(tf.constant(numbers), 1000)

    np.testing.assert_array_equal(packing.unpack(packed, 1000), numbers)
    assert len(packed) == -(-1000 // packing.group) * packing.size


@pytest.mark.parametrize(("count", "size"), [(1, 1), (256, 1), (257, 2), (65536, 2), (65537, 3)])
def test_places_take_as_few_bytes_as_do(count: int, size: int) -> None:
    packing = of_places(count)

    assert packing.size == size
    assert packing.unpack(packing.pack(tf.constant([count - 1]), 1), 1).numpy() == [count - 1]


def test_channels_have_scales_of_their_own() -> None:
    values = gradient(5, 3) * np.array([1, 10, 100], np.float32)
    one = coder((5, 3), axes=1, num_bits=2, scale="largest")

    found = coded(one, values)

    np.testing.assert_allclose(np.abs(found).max(0), np.abs(values).max(0), rtol=1e-6)
    assert one.message_bytes == 3 * 4 + 3


@pytest.mark.parametrize(
    ("name", "shape", "axes"),
    [("kernel", (3, 3, 2, 4), 1), ("depthwise_kernel", (3, 3, 2, 1), 2), ("bias", (4,), 0)],
)
def test_channels_are_where_keras_has_them(name: str, shape: tuple[int, ...], axes: int) -> None:
    import keras

    variable = keras.Variable(np.zeros(shape), name=name)
    options = GradientQuantization(granularity="per_channel")

    assert coder_of(variable, options).channel_axes == axes


@pytest.mark.parametrize("options", EVERY, ids=str)
def test_a_gradient_of_zeros_stays_one(options: dict[str, Any]) -> None:
    np.testing.assert_array_equal(coded(coder((9,), **options), np.zeros(9, np.float32)), 0)


@pytest.mark.parametrize("options", EVERY, ids=str)
def test_a_gradient_that_is_no_number_is_not_hidden(options: dict[str, Any]) -> None:
    """Symbols could be read off it; the loss would stay finite and the weights be rubbish."""
    values = gradient(9)
    values[4] = np.nan

    assert not np.isfinite(coded(coder((9,), **options), values)).all()
