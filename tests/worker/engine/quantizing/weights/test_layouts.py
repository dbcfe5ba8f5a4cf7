"""Kernels as matrices: their products with what is read off the input are what Keras computes."""

from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.builders import randomized
from worker.engine.quantizing.weights.views import views

layers = keras.layers
ALL = 10_000


def model_of(layer: Any, shape: tuple[int, ...]) -> Any:
    given = keras.Input(shape, name="given")
    return randomized(keras.Model(given, layer(given)))


def product(model: Any, rows: NDArray[Any]) -> NDArray[Any]:
    """[groups, samples, outputs] of the only kernel, out of matrices and vectors."""
    ((_, view),) = views(model).values()
    kernel = view.layer.kernel.numpy()
    vectors = view.vectors([keras.ops.convert_to_tensor(rows)], ALL, (0,))
    assert view.layout.kernel(view.layout.matrices(kernel), kernel.shape).tolist() == (
        kernel.tolist()
    )
    return np.asarray(vectors @ view.layout.matrices(kernel))


def expected(model: Any, rows: NDArray[Any], groups: int = 1) -> NDArray[Any]:
    outputs = np.asarray(model(rows))
    flat = outputs.reshape(-1, groups, outputs.shape[-1] // groups)
    return flat.transpose(1, 0, 2)


def rows_of(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


@pytest.mark.parametrize(
    ("layer", "shape", "groups"),
    [
        (layers.Dense(3, use_bias=False), (5,), 1),
        (layers.Dense(3, use_bias=False), (2, 5), 1),
        (layers.Conv1D(4, 3, padding="causal", dilation_rate=2, use_bias=False), (9, 2), 1),
        (layers.Conv1D(4, 3, strides=2, padding="same", use_bias=False), (8, 2), 1),
        (layers.Conv2D(4, (3, 2), strides=(2, 1), padding="same", use_bias=False), (6, 5, 2), 1),
        (layers.Conv2D(4, 3, use_bias=False), (6, 5, 2), 1),
        (layers.Conv2D(6, 3, groups=2, padding="same", use_bias=False), (5, 5, 4), 2),
        (layers.Conv2D(4, 2, dilation_rate=2, padding="same", use_bias=False), (5, 6, 2), 1),
        (layers.Conv3D(3, 2, padding="same", use_bias=False), (3, 4, 3, 2), 1),
        (layers.DepthwiseConv1D(3, depth_multiplier=2, use_bias=False), (7, 3), 3),
        (
            layers.DepthwiseConv2D(
                3, strides=2, depth_multiplier=2, padding="same", use_bias=False
            ),
            (6, 6, 3),
            3,
        ),
        (layers.EinsumDense("ab,bc->ac", 3), (4,), 1),
        (layers.EinsumDense("...x,xy->...y", 3), (2, 4), 1),
        (layers.EinsumDense("abc,bcd->abd", (2, 3)), (2, 4), 2),
        (layers.TimeDistributed(layers.Dense(3, use_bias=False)), (2, 4), 1),
        (
            layers.TimeDistributed(layers.Conv2D(3, 2, padding="same", use_bias=False)),
            (2, 4, 4, 1),
            1,
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, keras.Layer) else None,
)
def test_matrices_times_vectors_are_the_outputs(
    layer: Any, shape: tuple[int, ...], groups: int
) -> None:
    # Layers are made when tests are collected; each test calls a copy.
    model = model_of(layer.from_config(layer.get_config()), shape)
    rows = rows_of(3, *shape)

    found = product(model, rows)

    wanted = expected(model, rows, groups)
    if isinstance(layer, layers.EinsumDense) and groups > 1:
        wanted = np.asarray(model(rows)).transpose(1, 0, 2)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_a_kernel_of_several_output_axes_is_one_matrix() -> None:
    layer = layers.EinsumDense("abc,cde->abde", (None, 2, 3))
    model = model_of(layer, (2, 4))
    rows = rows_of(3, 2, 4)

    found = product(model, rows)

    np.testing.assert_allclose(found[0], np.asarray(model(rows)).reshape(6, 6), atol=1e-5)


def test_places_of_a_transposed_kernel_are_groups_of_their_own() -> None:
    # Windows that do not overlap: each place of the window makes outputs of its own.
    layer = layers.Conv1DTranspose(2, 3, strides=3, use_bias=False)
    model = model_of(layer, (4, 5))
    rows = rows_of(2, 4, 5)

    found = product(model, rows)

    outputs = np.asarray(model(rows)).reshape(8, 3, 2).transpose(1, 0, 2)
    np.testing.assert_allclose(found, outputs, atol=1e-5)


def test_the_pointwise_half_sees_what_the_depthwise_half_gives() -> None:
    layer = layers.SeparableConv2D(3, 3, strides=2, padding="same", use_bias=False)
    model = model_of(layer, (6, 6, 2))
    rows = rows_of(2, 6, 6, 2)
    view = views(model)["separable/pointwise_kernel".replace("separable", layer.name)][1]

    vectors = view.vectors([keras.ops.convert_to_tensor(rows)], ALL, (0,))

    found = vectors @ view.layout.matrices(layer.pointwise_kernel.numpy())
    np.testing.assert_allclose(found, expected(model, rows), atol=1e-5)


def test_projections_of_an_attention_see_query_value_and_key() -> None:
    query, value = keras.Input((3, 4), name="query"), keras.Input((5, 4), name="value")
    attention = layers.MultiHeadAttention(2, 3, name="attention")
    model = randomized(keras.Model([query, value], attention(query, value)))

    found = views(model)

    arguments = {name: view.route.argument for name, (_, view) in found.items()}
    assert arguments == {
        "attention/kernel": 0,
        "attention/kernel_1": 2,
        "attention/kernel_2": 1,
    }
    (_, keys) = found["attention/kernel_1"]
    given = [keras.ops.convert_to_tensor(rows_of(2, n, 4)) for n in (3, 5)]
    assert keys.vectors(given, ALL, (0,)).shape == (1, 10, 4)


def test_recurrent_kernels_and_summed_inputs_are_not_seen() -> None:
    assert views(model_of(layers.LSTM(3), (4, 2))) == {}
    assert views(model_of(layers.EinsumDense("abc,cd->ad", 3), (2, 4))) == {}


def test_a_limit_takes_some_places_by_chance_and_the_same_ones_again() -> None:
    model = model_of(layers.Conv2D(2, 2, use_bias=False), (9, 9, 1))
    ((_, view),) = views(model).values()
    given = [keras.ops.convert_to_tensor(rows_of(4, 9, 9, 1))]

    one, same, other = (view.vectors(given, 50, seed) for seed in ((1,), (1,), (2,)))

    assert one.shape == (1, 50, 4)
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
