"""Projections in the place of spans that change shapes."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.builders import data_for, never_cancelled, outputs_of, randomized
from tests.residual import residual_model
from worker.engine.surgery.spans.bridges import Plan, fitted, plan_of
from worker.engine.surgery.spans.finding import Span, removable_spans
from worker.engine.surgery.spans.removal import without_spans
from worker.engine.surgery.spans.taps import block_influence, projections

LAYERS = keras.layers


def test_fitted_finds_an_affine_map() -> None:
    rng = np.random.default_rng(0)
    kernel, bias, x = rng.normal(size=(5, 3)), rng.normal(size=3), rng.normal(size=(64, 5))

    found = fitted(x, x @ kernel + bias)

    np.testing.assert_allclose(found.kernel, kernel, atol=1e-6)
    np.testing.assert_allclose(found.bias, bias, atol=1e-6)
    assert found.residual < 1e-6


def test_fitted_shares_a_weight_among_inputs_that_are_alike() -> None:
    x = np.random.default_rng(0).normal(size=(64, 1)).repeat(2, axis=1)

    found = fitted(np.concatenate([x, np.ones((64, 1))], axis=1), 2 * x[:, :1] + 3)

    np.testing.assert_allclose(found.kernel, [[1], [1], [0]], atol=1e-6)
    np.testing.assert_allclose(found.bias, [3], atol=1e-6)


def test_fitted_says_how_much_it_leaves() -> None:
    x = np.array([[-1.0], [0.0], [1.0]])

    assert fitted(x, x**2).residual == pytest.approx(1.0)


def test_fitted_takes_constant_outputs() -> None:
    found = fitted(np.ones((4, 2)), np.full((4, 1), 5.0))

    np.testing.assert_allclose(found.bias, [5.0])
    assert found.residual == 0.0


def differing(model: Any, name: str) -> Span:
    return next(span for span in removable_spans(model).differing if span.name == name)


def plan(model: Any, name: str) -> Plan | str:
    span = differing(model, name)
    return plan_of(span, model.get_layer(span.exit.layer))


def model_of(build: Any, shape: tuple[int, ...]) -> Any:
    keras.utils.set_random_seed(1)
    given = keras.Input(shape, name="given")
    return keras.Model(given, LAYERS.Dense(2, name="last")(build(given)))


def two_dense(x: Any) -> Any:
    y = LAYERS.Dense(9, name="one")(x)
    return LAYERS.Add(name="sum")([LAYERS.Dense(3, name="two")(y), LAYERS.Dense(3, name="side")(x)])


def two_pointwise(x: Any) -> Any:
    y = LAYERS.Conv2D(9, 1, strides=2, name="one")(x)
    y = LAYERS.Conv2D(3, 1, name="two")(y)
    return LAYERS.Add(name="sum")([y, LAYERS.Conv2D(3, 1, strides=2, name="side")(x)])


def pooled_pointwise(x: Any) -> Any:
    y = LAYERS.AveragePooling2D(3, strides=1, name="small")(x)
    y, z = LAYERS.Conv2D(9, 1, name="one")(y), LAYERS.Conv2D(3, 1, name="side")(y)
    return LAYERS.Add(name="sum")([LAYERS.Conv2D(3, 1, name="two")(y), z])


def steps(x: Any) -> Any:
    y = LAYERS.Conv1D(9, 1, strides=2, name="one")(x)
    y = LAYERS.Conv1D(3, 1, name="two")(y)
    return LAYERS.Add(name="sum")([y, LAYERS.Conv1D(3, 1, strides=2, name="side")(x)])


@pytest.mark.parametrize(
    ("build", "shape", "layers"),
    [
        (two_dense, (4,), [LAYERS.Dense]),
        (two_dense, (5, 4), [LAYERS.Dense]),
        (two_dense, (3, 5, 4), [LAYERS.Conv2D]),
        (two_pointwise, (7, 6, 4), [LAYERS.Conv2D]),
        (steps, (7, 4), [LAYERS.Conv1D]),
        (pooled_pointwise, (7, 6, 4), [LAYERS.Conv2D]),
    ],
)
def test_bridge_over_a_linear_span_computes_the_same(
    build: Any, shape: tuple[int, ...], layers: list[Any], tmp_path: Path
) -> None:
    model = randomized(model_of(build, shape))
    rows = data_for(model, tmp_path, train_rows=64).train
    wanted = plan(model, "sum")
    assert isinstance(wanted, Plan)
    assert [type(layer) for layer in wanted.layers] == layers

    ((_, fit),) = projections(model, [wanted], rows, never_cancelled)

    bridge = wanted.bridge(fit.kernel, fit.bias)
    bridged = without_spans(model, [wanted.span], {}, {"sum": bridge}).model
    inputs = rows.take(16)
    assert fit.residual < 1e-4
    np.testing.assert_allclose(
        outputs_of(bridged, inputs)[0], outputs_of(model, inputs)[0], atol=1e-4, rtol=1e-4
    )


def test_bridge_pools_where_strides_do_not_give_the_lengths() -> None:
    model = model_of(LAYERS.Conv2D(8, 3, strides=2, name="conv"), (9, 8, 4))

    wanted = plan(model, "conv")

    assert isinstance(wanted, Plan)
    pool, _ = wanted.layers
    # 9 x 8 -> 4 x 3.
    assert (pool.pool_size, pool.strides) == ((3, 4), (2, 2))


def test_bridge_keeps_relu_of_what_it_replaces() -> None:
    model = model_of(LAYERS.Conv2D(8, 3, padding="same", activation="relu", name="conv"), (6, 6, 4))

    wanted = plan(model, "conv")

    assert isinstance(wanted, Plan)
    assert wanted.layers[-1].activation is keras.activations.relu


@pytest.mark.parametrize(
    ("build", "shape", "reason"),
    [
        (
            LAYERS.Dense(6, name="layer"),
            (4,),
            (
                "nothing would be saved: it has 30 weights, and a projection from (4) to (6) in "
                "its place would have 30"
            ),
        ),
        (
            LAYERS.Conv2DTranspose(4, 3, strides=2, name="layer"),
            (4, 4, 3),
            "it enlarges (4, 4, 3) to (9, 9, 4)",
        ),
        (
            LAYERS.Conv2D(4, 3, strides=2, name="layer"),
            (None, 4, 3),
            "lengths are left open from (any, 4, 3) to (any, 1, 4)",
        ),
        (
            LAYERS.LSTM(4, name="layer"),
            (5, 3),
            "no projection leads from (5, 3) to (4)",
        ),
    ],
)
def test_no_bridge_leads_over(build: Any, shape: tuple[int, ...], reason: str) -> None:
    assert plan(model_of(build, shape), "layer") == reason


def test_block_influence_is_that_of_the_definition(tmp_path: Path) -> None:
    model = randomized(residual_model(2))
    model.get_layer("norm_1_2").set_weights([np.zeros(4), np.zeros(4), np.zeros(4), np.ones(4)])
    rows = data_for(model, tmp_path, train_rows=40).train
    spans = removable_spans(model).matching

    found = block_influence(model, spans, {}, rows, never_cancelled)

    ends = keras.Model(model.inputs, [model.get_layer(name).output for name in ("stem", "relu_0")])
    given, made = (np.asarray(x, "float64") for x in ends([rows.take(40)["picture"]]))
    lengths = np.linalg.norm(given, axis=-1) * np.linalg.norm(made, axis=-1)
    products = (given * made).sum(axis=-1)
    cosines = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
    cosines[(given == made).all(axis=-1)] = 1
    assert found["add_0"] == pytest.approx((1 - cosines).mean(), abs=1e-5)
    assert found["add_1"] == pytest.approx(0, abs=1e-6)
