"""Models that learned to live with integers, and the files they become."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from tests.builders import (
    context_for,
    conv_model,
    data_for,
    dense_model,
    nested_model,
    outputs_of,
    randomized,
    recurrent_model,
    rows_for,
    step,
)
from tests.worker.engine.quantizing.test_fake_quant import residual_model
from worker.engine.context import StepContext, StepOutcome
from worker.engine.exporting.files import write_file
from worker.engine.exporting.source import KerasSource
from worker.engine.measuring.tflite_file import read_tflite
from worker.engine.quantizing.fake_quant import ranges_of
from worker.engine.quantizing.levels import Codebook, Grid
from worker.engine.quantizing.trained_weights import Rounded
from worker.engine.surgery.weights import assign_weights, named_weights
from worker.engine.techniques import technique

pytestmark = pytest.mark.slow


def trained(model: Any, context: StepContext, **parameters: Any) -> StepOutcome:
    asked = step(
        "quantization_aware_training",
        **{"epochs": 1, "learning_rate": 3e-3, "batch_size": 16, **parameters},
    )
    outcome = technique("quantization_aware_training").apply(asked, model, context)
    assert isinstance(outcome, StepOutcome)
    return outcome


def exported(outcome: StepOutcome, folder: Path) -> bytes:
    source = KerasSource(outcome.model, folder / "source", {}, outcome.levels)
    return write_file("tflite", source, folder / "optimized", None).path.read_bytes()


def predictions(content: bytes, rows: dict[str, Any]) -> Any:
    runner = Interpreter(model_content=content).get_signature_runner()
    return next(iter(runner(**rows).values()))


@pytest.mark.parametrize("method", ["straight_through", "lsq"])
@pytest.mark.parametrize("weight_bits", [8, 4])
def test_kernels_lie_on_grids_of_so_many_bits(
    method: str, weight_bits: int, tmp_path: Path
) -> None:
    model = randomized(dense_model())

    outcome = trained(model, context_for(model, tmp_path), method=method, weight_bits=weight_bits)

    kernels = {name: one for name, one in named_weights(outcome.model).items() if "kernel" in name}
    assert outcome.levels.keys() == kernels.keys()
    limit = 2 ** (weight_bits - 1) - 1
    for name, kernel in kernels.items():
        grid = outcome.levels[name]
        assert isinstance(grid, Grid)
        assert grid.scale.shape == (1, kernel.shape[1])
        numbers = grid.numbers(kernel.numpy())
        assert numbers is not None
        assert np.abs(numbers).max() <= limit
        assert len(np.unique(numbers)) > 3


def test_the_file_has_the_integers_of_the_model_and_agrees_with_it(tmp_path: Path) -> None:
    both = residual_model()
    model = randomized(keras.Model(both.inputs[0], both.outputs[0]))
    context = context_for(model, tmp_path)

    outcome = trained(model, context, batch_norm="keep")

    content = exported(outcome, tmp_path)
    file = read_tflite(content)
    assert not file.float_operators
    found = ranges_of(outcome.model)
    first = next(one for one in file.operators if one.name == "CONV_2D").outputs[0]
    width = found["first"].maximum - found["first"].minimum
    assert first.scale == pytest.approx([width / 255], rel=1e-4)
    kernel = named_weights(outcome.model)["first/kernel"].numpy()
    stored = next(one for one in file.weights if one.shape == (4, 3, 3, 2))
    np.testing.assert_array_equal(np.moveaxis(stored.values, 0, -1), kernel)
    rows = rows_for(model, 256, seed=5)
    theirs, ours = predictions(content, rows), outputs_of(outcome.model, rows)[0]
    assert (theirs.argmax(1) == ours.argmax(1)).mean() > 0.98


def test_training_moves_what_it_is_given(tmp_path: Path) -> None:
    model = randomized(dense_model())
    context = context_for(model, tmp_path)

    averaged, learned = (
        trained(model, context, ranges=ranges, validation_fraction=0.0)
        for ranges in ("moving_average", "learned")
    )

    ours, theirs = ranges_of(averaged.model), ranges_of(learned.model)
    assert (
        ours.keys()
        == theirs.keys()
        == {
            "features",
            "hidden",
            "classes:before_activation",
            "classes",
        }
    )
    assert ours["hidden"] != theirs["hidden"]
    assert ours["classes"].maximum == 255 / 256
    weights = [one.model.get_weights()[0] for one in (averaged, learned)]
    assert not np.allclose(weights[0], model.get_weights()[0], atol=0.005)


def test_normalizations_are_folded_or_kept(tmp_path: Path) -> None:
    model = randomized(conv_model())
    context = context_for(model, tmp_path)

    folded, kept = (trained(model, context, batch_norm=how).model for how in ("fold", "keep"))

    assert "norm" not in [layer.name for layer in folded.layers]
    assert "norm" in [layer.name for layer in kept.layers]
    assert "relu" in ranges_of(folded)


def test_zeros_stay_zero(tmp_path: Path) -> None:
    model = randomized(dense_model())
    keep = np.random.default_rng(0).random((4, 8)) > 0.5
    assign_weights(model, {"hidden/kernel": model.get_weights()[0] * keep})

    context = context_for(model, tmp_path, masks={"hidden/kernel": keep})
    outcome = trained(model, context)

    np.testing.assert_array_equal(outcome.model.get_weights()[0] != 0, keep)
    assert outcome.masks == context.masks


def test_clustered_weights_stay_in_their_clusters(tmp_path: Path) -> None:
    model = randomized(dense_model())
    book = Codebook(np.array([-0.7, 0.0, 0.4], np.float32))
    numbers = np.random.default_rng(0).integers(0, 3, (4, 8))
    assign_weights(model, {"hidden/kernel": book.values(numbers)})
    context = replace(context_for(model, tmp_path), levels={"hidden/kernel": book})

    outcome = trained(model, context, validation_fraction=0.0)

    moved = outcome.levels["hidden/kernel"]
    assert isinstance(moved, Codebook)
    assert moved.centroids[1] == 0
    assert not np.allclose(moved.centroids, book.centroids, atol=1e-3)
    kernel = outcome.model.get_weights()[0]
    np.testing.assert_array_equal(kernel, moved.values(numbers))
    content = exported(outcome, tmp_path)
    stored = next(one for one in read_tflite(content).weights if one.shape == (8, 4))
    np.testing.assert_allclose(stored.values.T, kernel, atol=1e-6)


def test_excluded_layers_stay_in_float(tmp_path: Path) -> None:
    model = randomized(dense_model())

    outcome = trained(model, context_for(model, tmp_path), exclude=["classes"])

    assert outcome.levels.keys() == {"hidden/kernel"}
    assert ranges_of(outcome.model).keys() == {"features", "hidden"}
    assert [one.layer for one in outcome.skipped] == ["classes"]


def test_nested_models_are_quantized_inside(tmp_path: Path) -> None:
    model = randomized(nested_model())

    outcome = trained(model, context_for(model, tmp_path))

    assert "backbone/inner" in ranges_of(outcome.model)
    assert "backbone/inner/kernel" in outcome.levels
    assert not read_tflite(exported(outcome, tmp_path)).float_operators


def test_recurrent_layers_are_left_with_the_reason(tmp_path: Path) -> None:
    model = randomized(recurrent_model())

    outcome = trained(model, context_for(model, tmp_path))

    reasons = {one.layer: one.reason for one in outcome.skipped}
    assert "recurrent" in reasons["halves"]
    assert outcome.levels.keys() == {"classes/kernel"}


def test_frozen_layers_are_rounded_and_not_trained(tmp_path: Path) -> None:
    model = randomized(dense_model())
    model.get_layer("hidden").trainable = False

    outcome = trained(model, context_for(model, tmp_path), validation_fraction=0.0)

    rounded = outcome.model.get_weights()[0]
    np.testing.assert_allclose(rounded, model.get_weights()[0], atol=0.5 / 127)


def test_dilated_convolutions_are_left_with_the_reason(tmp_path: Path) -> None:
    picture = keras.Input((6, 6, 2), name="picture")
    x = keras.layers.Conv2D(3, 3, dilation_rate=2, name="apart")(picture)
    x = keras.layers.Flatten(name="flat")(x)
    model = randomized(keras.Model(picture, keras.layers.Dense(3, name="logits")(x)))

    outcome = trained(model, context_for(model, tmp_path))

    assert "dilation_rate 2" in {one.layer: one.reason for one in outcome.skipped}["apart"]
    assert outcome.levels.keys() == {"logits/kernel"}


def test_clusters_and_pruned_zeros_survive_together_into_the_file(tmp_path: Path) -> None:
    model = randomized(dense_model())
    book = Codebook(np.array([-0.7, 0.0, 0.4, 0.9], np.float32))
    numbers = np.random.default_rng(0).integers(0, 4, (4, 8))
    assign_weights(model, {"hidden/kernel": book.values(numbers)})
    masks = {"hidden/kernel": numbers != 1}
    context = context_for(model, tmp_path, masks=masks)

    outcome = trained(
        model,
        replace(context, levels={"hidden/kernel": book}),
        weight_bits=2,
        validation_fraction=0.0,
    )

    stored = next(
        one for one in read_tflite(exported(outcome, tmp_path)).weights if one.shape == (8, 4)
    )
    integers = stored.raw.view(np.int8).reshape(8, 4).T
    np.testing.assert_array_equal(integers != 0, masks["hidden/kernel"])
    assert (
        len({(number, value) for number, value in zip(numbers.flat, integers.flat, strict=True)})
        == 4
    )
    assert any("weight_bits 2" in one and "hidden/kernel (4)" in one for one in outcome.warnings)


@pytest.mark.parametrize("start", [0.01, 0.5])
def test_plain_gradient_descent_moves_a_scale_as_in_its_paper(start: float) -> None:
    values = keras.Variable(np.array([[0.3, -0.8], [1.1, 0.2]], np.float32) * start)
    one = Rounded(
        name="kernel",
        weight=values,
        shadow=keras.Variable(values.numpy()),
        axes=(0, 1),
        num_bits=4,
        ends=np.ones((1, 1), np.float32),
        start=np.full((1, 1), start, np.float32),
        factor=keras.Variable(np.ones((1, 1), np.float32)),
        keep=None,
    )
    assert one.factor is not None
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(one.value())
    (slope,) = tape.gradient(loss, [one.factor.value])

    # Esser et al., equation 3, inside the grid: rounded minus unrounded number.
    steps = values.numpy() / start
    expected = (np.rint(steps) - steps).sum() / np.sqrt(4 * 7)
    before = one.grid().scale
    one.factor.assign_sub(0.001 * start * slope)
    moved = (before - one.grid().scale) / (0.001 * start)
    np.testing.assert_allclose(moved, expected, rtol=0.02)


def test_a_trained_net_and_its_file_decide_alike(tmp_path: Path) -> None:
    picture = keras.Input((6, 6, 2), name="picture")
    first = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="first")(picture)
    x = keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depth")(first)
    x = keras.layers.ReLU(6.0, name="clamp")(keras.layers.BatchNormalization(name="norm")(x))
    x = keras.layers.ReLU(name="relu")(keras.layers.Add(name="sum")([first, x]))
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(picture, keras.layers.Dense(3, activation="softmax", name="kind")(x))
    context = context_for(model, tmp_path)
    data = data_for(model, tmp_path, train_rows=1500, test_rows=1000)
    context = replace(context, data=data)

    outcome = trained(model, context, epochs=6, batch_size=64, learning_rate=1e-2)

    rows = rows_for(model, 1000, seed=1)
    theirs, ours = predictions(exported(outcome, tmp_path), rows), outputs_of(outcome.model, rows)
    assert outcome.facts["validation_score"][-1] > 0.7
    assert (theirs.argmax(1) == ours[0].argmax(1)).mean() >= 0.999
