"""The optimizer around another: it does what Keras' own do, and remembers what coding left out."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from app.errors import OptimizerNotWrappable
from tests.builders import dense_model, embedding_model, randomized
from worker.engine.training.gradients.figures import entropy_bits
from worker.engine.training.gradients.optimizer import GradientQuantizingOptimizer

pytestmark = pytest.mark.slow


def wrapped(inner: Any = None, **parameters: Any) -> GradientQuantizingOptimizer:
    return GradientQuantizingOptimizer(inner or keras.optimizers.SGD(1.0), **parameters)


def variable(values: Any) -> keras.Variable:
    return keras.Variable(np.asarray(values, np.float32))


def test_what_feedback_leaves_out_comes_with_the_next_gradient() -> None:
    """After any number of steps: weights moved + what is remembered = the sum of all gradients."""
    weight, optimizer = variable(np.zeros(5)), wrapped(num_bits=2, error_feedback=True)
    gradients = np.random.default_rng(1).standard_normal((6, 5)).astype(np.float32)

    for gradient in gradients:
        optimizer.apply([tf.constant(gradient)], [weight])

    (residual,) = (one for one in optimizer.variables if one.name == "residual_0")
    assert np.abs(residual.numpy()).max() > 0
    np.testing.assert_allclose(residual - weight, gradients.sum(0), atol=1e-5)


def test_without_feedback_nothing_is_remembered() -> None:
    weight = variable(np.zeros(2))
    optimizer = wrapped(num_bits=2, error_feedback=False)

    for _ in range(3):
        optimizer.apply([tf.constant([1.0, 0.4])], [weight])

    np.testing.assert_allclose(weight.numpy(), [-3.0, 0.0])


def test_clipping_comes_after_decoding() -> None:
    weight = variable(np.zeros(2))

    wrapped(keras.optimizers.SGD(1.0, global_clipnorm=1.0), num_bits=2, scale="largest").apply(
        [tf.constant([8.0, 1.0])], [weight]
    )

    np.testing.assert_allclose(weight.numpy(), [-1.0, 0.0])


def test_gradients_of_embeddings_are_summed_and_missing_ones_left_out() -> None:
    table, bias = variable(np.zeros((4, 2))), variable(np.zeros(2))
    optimizer = wrapped(num_bits=8)
    twice = tf.IndexedSlices(tf.ones((3, 2)), tf.constant([1, 1, 3]), tf.constant([4, 2]))
    optimizer.build([table, bias])

    with pytest.warns(UserWarning, match="Gradients do not exist"):
        optimizer.apply([twice, None], [table, bias])

    np.testing.assert_allclose(table.numpy(), [[0, 0], [-2, -2], [0, 0], [-1, -1]], atol=0.02)
    assert optimizer.coordinates == 8


def test_messages_of_all_give_their_weighted_mean() -> None:
    weight, own = variable(np.zeros(3)), [wrapped(num_bits=8, rank=rank) for rank in range(2)]
    gradients = [tf.constant([3.0, 0.0, -1.5]), tf.constant([0.0, 6.0, 1.5])]
    messages = [
        optimizer.encode([one], [weight]) for optimizer, one in zip(own, gradients, strict=True)
    ]

    own[0].apply_messages(tf.stack(messages), tf.constant([2 / 3, 1 / 3]), [weight])

    np.testing.assert_allclose(weight.numpy(), [-2.0, -2.0, 0.5], atol=0.02)
    assert own[0].message_bytes == len(messages[0]) == 4 + 3


def test_a_compiled_model_learns_and_is_saved_with_it(tmp_path: Path) -> None:
    model = dense_model()
    optimizer = wrapped(
        keras.optimizers.Adam(0.02), num_bits=2, rounding="stochastic", error_feedback=True, seed=3
    )
    model.compile(optimizer, "sparse_categorical_crossentropy")
    x = np.random.default_rng(0).standard_normal((60, 4)).astype("float32")
    y = x[:, 0].argsort().argsort() // 20
    history = model.fit(x, y, batch_size=20, epochs=8, verbose=0).history["loss"]
    model.save(tmp_path / "model.keras")

    loaded = keras.saving.load_model(tmp_path / "model.keras")

    assert history[-1] < history[0]
    assert loaded.optimizer.get_config() == optimizer.get_config()
    for mine, theirs in zip(optimizer.variables, loaded.optimizer.variables, strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())
    for one in (model, loaded):
        one.fit(x, y, batch_size=20, epochs=1, shuffle=False, verbose=0)
    np.testing.assert_array_equal(model.get_weights()[0], loaded.get_weights()[0])


def test_a_scaled_loss_goes_around_it() -> None:
    model = randomized(embedding_model())
    model.compile(
        keras.optimizers.LossScaleOptimizer(wrapped(keras.optimizers.Adam(0.02), num_bits=4)),
        "sparse_categorical_crossentropy",
    )
    x = np.arange(100).reshape(20, 5) % 20

    losses = model.fit(x, x[:, 0] % 3, epochs=10, verbose=0).history["loss"]

    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("inner", "hint"),
    [
        (lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD()), "inside it"),
        (wrapped, "once"),
        (lambda: "adam", "instance"),
    ],
)
def test_what_cannot_be_wrapped_is_refused_with_a_hint(inner: Any, hint: str) -> None:
    with pytest.raises(OptimizerNotWrappable, match="cannot be wrapped") as refused:
        GradientQuantizingOptimizer(inner())

    assert hint in (refused.value.hint or "")
    assert refused.value.code == "optimizer_not_wrappable"


def test_unknown_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown: bits"):
        wrapped(bits=2)


def test_symbols_are_counted_in_some_steps() -> None:
    weight = variable(np.zeros(4))
    optimizer = wrapped(num_bits=2, error_feedback=False)

    for _ in range(17):
        optimizer.apply([tf.constant([1.0, 0.0, 0.1, -1.0])], [weight])

    assert optimizer.sampled_steps == 2
    np.testing.assert_array_equal(optimizer.symbol_counts, [2, 4, 2])
    assert entropy_bits(optimizer.symbol_counts) == pytest.approx(1.5)
