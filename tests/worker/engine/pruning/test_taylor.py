"""First-order change of the loss without a unit, against gradients done by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from app.errors import Cancelled
from tests.builders import context_for, conv_model, dense_model, randomized
from worker.engine.context import StepContext
from worker.engine.pruning.taylor import BATCH_SIZE, Sample, squared_changes
from worker.engine.surgery.channels.graph import channel_graph
from worker.engine.surgery.weights import named_weights


def changes(model: Any, context: StepContext, batches: int) -> Any:
    rows, _ = context.divided(0.0)
    groups = channel_graph(model).groups
    (found,) = squared_changes(model, groups, context, Sample(rows, batches, "auto")).values()
    return found


def by_hand(model: Any, context: StepContext, batches: int) -> Any:
    """Mean over batches of (sum of h_u * dL/dh_u)^2 with dL/dz = (softmax - one-hot) / rows."""
    rows, _ = context.divided(0.0)
    hidden, bias, classes, other = (weight.numpy() for weight in model.weights)
    order = np.random.default_rng(context.seed).permutation(len(rows))
    squares = []
    for start in range(0, batches * BATCH_SIZE, BATCH_SIZE):
        positions = order[start : start + BATCH_SIZE]
        x = rows.fed(positions)["features"]
        h = np.maximum(x @ hidden + bias, 0)
        z = h @ classes + other
        p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        labels = rows.labels["classes"][positions]
        slope = (p - np.eye(3)[labels]) / len(positions)
        squares.append(((h * (slope @ classes.T)).sum(axis=0)) ** 2)
    return np.mean(squares, axis=0)


@pytest.mark.parametrize("batches", [1, 2])
def test_changes_are_squared_sums_of_activation_times_gradient(
    batches: int, tmp_path: Path
) -> None:
    model = randomized(dense_model())
    context = context_for(model, tmp_path)

    found = changes(model, context, batches)

    np.testing.assert_allclose(found, by_hand(model, context, batches), rtol=1e-4)


def test_changes_look_at_every_row_once_at_most(tmp_path: Path) -> None:
    model = randomized(dense_model())
    context = context_for(model, tmp_path)

    np.testing.assert_array_equal(changes(model, context, 2), changes(model, context, 1000))


def test_changes_are_those_of_frozen_layers_too(tmp_path: Path) -> None:
    model = randomized(conv_model())
    context = context_for(model, tmp_path)
    expected = changes(model, context, 1)
    model.trainable = False

    np.testing.assert_array_equal(changes(model, context, 1), expected)
    assert (expected > 0).all()


def test_changes_are_zero_for_a_unit_that_nobody_reads(tmp_path: Path) -> None:
    model = randomized(dense_model())
    kernel = named_weights(model)["classes/kernel"]
    kernel.assign(np.where(np.arange(8)[:, None] == 5, 0, kernel.numpy()))

    found = changes(model, context_for(model, tmp_path), 2)

    assert found[5] == 0
    assert (np.delete(found, 5) > 0).all()


def test_changes_come_near_the_loss_without_a_small_unit(tmp_path: Path) -> None:
    model = randomized(dense_model())
    context = context_for(model, tmp_path)
    kernel = named_weights(model)["classes/kernel"]
    kernel.assign(kernel.numpy() * np.where(np.arange(8)[:, None] == 2, 0.01, 1))
    rows, _ = context.divided(0.0)
    order = np.random.default_rng(context.seed).permutation(len(rows))[:BATCH_SIZE]
    x, y = rows.fed(order)["features"], rows.labels["classes"][order]

    found = changes(model, context, 1)
    with_it = loss(model, x, y)
    kernel.assign(np.where(np.arange(8)[:, None] == 2, 0, kernel.numpy()))

    assert found[2] == pytest.approx((with_it - loss(model, x, y)) ** 2, rel=0.05)


def loss(model: Any, x: Any, y: Any) -> float:
    return float(keras.ops.mean(keras.losses.sparse_categorical_crossentropy(y, model(x))))


def cancelled() -> None:
    raise Cancelled("the job was asked to stop")


def test_changes_stop_when_cancelled(tmp_path: Path) -> None:
    model = dense_model()
    context = replace(context_for(model, tmp_path), check_cancelled=cancelled)
    groups = channel_graph(model).groups

    with pytest.raises(Cancelled):
        squared_changes(model, groups, context, Sample(context.divided(0.0)[0], 1, "auto"))
