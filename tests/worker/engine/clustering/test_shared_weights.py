"""Centroids trained in place of the weights that share them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.builders import (
    branched_model,
    context_for,
    conv_model,
    dense_model,
    never_cancelled,
    randomized,
    step,
)
from worker.engine.clustering.shared_weights import FixedWeights, SharedWeights
from worker.engine.clustering.sharing import Sharing
from worker.engine.quantizing.levels import Codebook, Grid
from worker.engine.surgery.cloning import clone_with_weights
from worker.engine.surgery.weights import named_weights
from worker.engine.training.interventions import Interventions
from worker.engine.training.trainer import train

ONE_STEP = {"epochs": 1, "optimizer": "sgd", "batch_size": 1000, "validation_fraction": 0.0}
LEARNING_RATE = 1e-3


def on_codebooks(
    model: Any, *names: str, channel_axis: int | None = None, zeros: float = 0.3
) -> dict[str, Codebook]:
    """Put these weights on three values and zero, and say which."""
    rng = np.random.default_rng(0)
    sharing = Sharing(4, "linear", keeps_zero=True, check_cancelled=never_cancelled)
    books = {}
    for name in names:
        weight = named_weights(model)[name]
        values = np.where(rng.random(weight.shape) < zeros, 0, weight.numpy()).astype(np.float32)
        books[name], moved = sharing.codebook(values, channel_axis, rng)
        weight.assign(moved)
    return books


def moved_by_one_step(model: Any, folder: Path, **interventions: Any) -> dict[str, Any]:
    """How far a step of plain gradient descent moves each weight, by name."""
    before = {name: weight.numpy() for name, weight in named_weights(model).items()}
    options = step("fine_tuning", learning_rate=LEARNING_RATE, **ONE_STEP)
    train(model, context_for(model, folder), options, Interventions(**interventions))
    after = {name: weight.numpy() for name, weight in named_weights(model).items()}
    return {name: after[name] - before[name] for name in before}


@pytest.mark.parametrize("channel_axis", [None, 1])
def test_gradient_of_a_centroid_is_the_sum_of_its_members(
    channel_axis: int | None, tmp_path: Path
) -> None:
    model = randomized(dense_model())
    books = on_codebooks(model, "hidden/kernel", channel_axis=channel_axis)
    alone, together = clone_with_weights(model), clone_with_weights(model)

    own = moved_by_one_step(alone, tmp_path)["hidden/kernel"]
    moved = moved_by_one_step(together, tmp_path, reparametrization=SharedWeights(together, books))[
        "hidden/kernel"
    ]

    weight = named_weights(model)["hidden/kernel"].numpy()
    numbers = books["hidden/kernel"].numbers(weight)
    assert numbers is not None
    expected = np.zeros_like(own)
    for column in range(own.shape[1]):
        part = slice(None) if channel_axis is None else slice(column, column + 1)
        for number in np.unique(numbers[:, column]):
            members = numbers[:, part] == number
            here = numbers[:, column] == number
            expected[here, column] = own[:, part][members].sum()
    expected[weight == 0] = 0
    np.testing.assert_allclose(moved, expected, rtol=1e-3, atol=1e-6)
    assert np.abs(expected).max() > 1e-5


def test_gradients_of_centroids_are_dense(tmp_path: Path) -> None:
    """Adam would square the gradient of each member, not their sum."""
    model = randomized(dense_model())
    books = on_codebooks(model, "hidden/kernel")
    shared = SharedWeights(model, books)

    with tf.GradientTape() as tape:
        ((_, value),) = shared.values()
        total = tf.reduce_sum(value)
    (gradient,) = tape.gradient(total, [one.value for one in shared.trained])

    weight = named_weights(model)["hidden/kernel"].numpy()
    counts = [
        (weight == centroid).sum() if centroid else 0
        for centroid in books["hidden/kernel"].centroids
    ]
    assert isinstance(gradient, tf.Tensor)
    np.testing.assert_array_equal(gradient, counts)


@pytest.mark.parametrize(
    "changes",
    [{"optimizer": "adamw"}, {"optimizer": "lion"}, {"optimizer": "ftrl"},
     {"dtype": "mixed_bfloat16"}],
)  # fmt: skip
def test_weights_stay_in_their_clusters_and_zeros_stay_zero(
    changes: dict[str, str], tmp_path: Path
) -> None:
    model = randomized(conv_model())
    books = on_codebooks(model, "conv/kernel", "logits/kernel")
    before = {name: named_weights(model)[name].numpy() for name in books}
    shared = SharedWeights(model, books)
    options = step("fine_tuning", epochs=2, learning_rate=0.01, validation_fraction=0.0, **changes)

    train(model, context_for(model, tmp_path), options, Interventions(reparametrization=shared))

    for name, was in before.items():
        now = named_weights(model)[name].numpy()
        pairs = np.unique(np.stack([was.ravel(), now.ravel()]), axis=1)
        assert pairs.shape[1] == len(np.unique(was))
        assert (pairs[0] != pairs[1]).sum() == len(np.unique(was)) - 1
        np.testing.assert_array_equal(now == 0, was == 0)
        assert not np.signbit(now[now == 0]).any()
        assert shared.books()[name].numbers(now) is not None


def test_zero_moves_where_it_is_not_kept(tmp_path: Path) -> None:
    model = randomized(dense_model())
    books = on_codebooks(model, "hidden/kernel")

    moved = moved_by_one_step(
        model, tmp_path, reparametrization=SharedWeights(model, books, keeps_zero=False)
    )

    assert len(np.unique(moved["hidden/kernel"])) == 4
    assert (moved["hidden/kernel"] != 0).all()


def test_a_kernel_called_twice_has_one_list_of_values(tmp_path: Path) -> None:
    model = randomized(branched_model())
    books = on_codebooks(model, "shared/kernel")

    moved = moved_by_one_step(model, tmp_path, reparametrization=SharedWeights(model, books))

    assert len(np.unique(moved["shared/kernel"])) <= 4
    assert np.abs(moved["shared/kernel"]).max() > 0


def test_what_is_frozen_or_on_another_kind_of_level_is_left_alone() -> None:
    model = randomized(dense_model())
    model.get_layer("hidden").trainable = False
    books = on_codebooks(model, "hidden/kernel", "classes/kernel")
    grid = Grid(np.ones((1, 1), np.float32), np.zeros((1, 1), int), 8, (8, 3))

    assert SharedWeights(model, {"hidden/kernel": books["hidden/kernel"]}).replaced == []
    assert SharedWeights(model, {"classes/kernel": grid}).replaced == []
    (kept,) = SharedWeights(model, books).replaced
    assert kept is named_weights(model)["classes/kernel"]


def test_a_weight_that_is_not_on_its_codebook_is_refused() -> None:
    model = randomized(dense_model())

    with pytest.raises(ValueError, match="hidden/kernel does not lie on its codebook"):
        SharedWeights(model, {"hidden/kernel": Codebook(np.zeros(1, np.float32))})


def test_fixed_weights_do_not_move_and_others_do(tmp_path: Path) -> None:
    model = randomized(dense_model())
    names = {"hidden/kernel": None, "classes/kernel": None}
    config = model.get_config()

    moved = moved_by_one_step(model, tmp_path, reparametrization=FixedWeights(model, names))

    assert all(not moved[name].any() for name in names)
    assert moved["hidden/bias"].any()
    assert model.get_config() == config


def test_a_fingerprint_tells_other_values_and_another_way_with_zero_apart() -> None:
    model = randomized(dense_model())
    books = on_codebooks(model, "hidden/kernel")
    first = books["hidden/kernel"]
    longer = replace(first, centroids=np.append(first.centroids, np.float32(99)))

    said = [
        SharedWeights(model, books).fingerprint(),
        SharedWeights(model, {"hidden/kernel": longer}).fingerprint(),
        SharedWeights(model, books, keeps_zero=False).fingerprint(),
        FixedWeights(model, books).fingerprint(),
    ]

    assert len(set(said)) == 4
    assert said[0] == SharedWeights(clone_with_weights(model), books).fingerprint()


def test_recurrent_kernels_share_values_through_time(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    model = randomized(
        keras.Sequential([keras.Input((5, 3)), keras.layers.GRU(4, name="gru"),
                          keras.layers.Dense(1, activation="sigmoid", name="end")])
    )  # fmt: skip
    books = on_codebooks(model, "gru/kernel", "gru/recurrent_kernel")

    moved = moved_by_one_step(model, tmp_path, reparametrization=SharedWeights(model, books))

    for name in books:
        assert 1 < len(np.unique(moved[name])) <= 4
