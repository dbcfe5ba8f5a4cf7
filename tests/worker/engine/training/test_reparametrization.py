"""Weights that are computed from other variables while a model trains."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.builders import context_for, conv_model, dense_model, randomized, step
from worker.engine.surgery.cloning import clone_with_weights
from worker.engine.training.interventions import Interventions
from worker.engine.training.trainer import train

pytestmark = pytest.mark.slow


class Doubled:
    """The first kernel as twice another variable, with a price on its size."""

    def __init__(self, model: keras.Model, price: float = 0.0) -> None:
        self.kernel = next(one for one in model.trainable_variables if len(one.shape) > 1)
        self.half = keras.Variable(self.kernel.numpy() / 2, name="half")
        self.price = price
        self.settled = 0

    @property
    def replaced(self) -> list[keras.Variable]:
        return [self.kernel]

    @property
    def trained(self) -> list[keras.Variable]:
        return [self.half]

    @property
    def state(self) -> list[keras.Variable]:
        return []

    def values(self) -> list[tuple[keras.Variable, Any]]:
        return [(self.kernel, 2.0 * self.half.value)]

    def penalty(self) -> Any:
        return self.price * tf.reduce_sum(tf.abs(self.half.value))

    def settle(self) -> None:
        self.settled += 1
        self.kernel.assign(2.0 * self.half.value)

    def fingerprint(self) -> str:
        return str(self.price)


def options(**parameters: Any) -> Any:
    return step("fine_tuning", epochs=2, validation_fraction=0.0, **parameters)


def test_training_moves_what_a_weight_is_computed_from(tmp_path: Path) -> None:
    model = randomized(dense_model())
    trained = clone_with_weights(model)
    doubled = Doubled(trained)

    train(
        trained, context_for(model, tmp_path), options(), Interventions(reparametrization=doubled)
    )

    assert not np.allclose(trained.get_weights()[0], model.get_weights()[0])
    np.testing.assert_array_equal(doubled.kernel.numpy(), 2 * doubled.half.numpy())
    assert doubled.settled == 3


def test_gradients_flow_through_the_computation(tmp_path: Path) -> None:
    """A step of sgd on half the weight moves the weight itself four times as far."""
    model = randomized(dense_model())
    context = context_for(model, tmp_path)
    one_step = {"epochs": 1, "optimizer": "sgd", "batch_size": 1000, "validation_fraction": 0.0}
    plain, computed = clone_with_weights(model), clone_with_weights(model)

    train(plain, context, step("fine_tuning", **one_step), Interventions())
    train(
        computed,
        context,
        step("fine_tuning", **one_step),
        Interventions(reparametrization=Doubled(computed)),
    )

    moved = plain.get_weights()[0] - model.get_weights()[0]
    moved_through_half = computed.get_weights()[0] - model.get_weights()[0]
    np.testing.assert_allclose(moved_through_half, 4 * moved, rtol=1e-3, atol=1e-6)


def test_a_penalty_is_part_of_the_loss(tmp_path: Path) -> None:
    model = randomized(dense_model())
    context = context_for(model, tmp_path)
    sizes = []
    for price in (0.0, 10.0):
        trained = clone_with_weights(model)
        doubled = Doubled(trained, price)
        train(trained, context, options(), Interventions(reparametrization=doubled))
        sizes.append(np.abs(doubled.kernel.numpy()).sum())

    assert sizes[1] < sizes[0]


def test_moving_statistics_are_learned_under_a_reparametrization(tmp_path: Path) -> None:
    model = randomized(conv_model())
    trained = clone_with_weights(model)

    train(
        trained,
        context_for(model, tmp_path),
        options(),
        Interventions(reparametrization=Doubled(trained)),
    )

    before, after = (
        next(one for one in net.non_trainable_variables if one.name == "moving_mean").numpy()
        for net in (model, trained)
    )
    assert not np.allclose(before, after)
