"""Which operators stay float."""

from pathlib import Path

import keras

from tests.builders import dense_model, randomized
from worker.engine.exporting.kept_float import operators_of_layers, scaling_of_inputs
from worker.engine.exporting.source import KerasSource
from worker.engine.measuring.layers import leaf_layers
from worker.engine.measuring.tflite_file import read_tflite


def test_scaling_of_inputs_finds_a_normalization_that_comes_first(tmp_path: Path) -> None:
    model = keras.Sequential(
        [
            keras.Input((2,), name="x"),
            keras.layers.Normalization(mean=[1.0, 2.0], variance=[4.0, 9.0]),
            keras.layers.Dense(3),
        ]
    )
    file = read_tflite(KerasSource(model, tmp_path, {}).float32())
    assert [operator.name for operator in scaling_of_inputs(file)] == ["SUB", "MUL"]


def test_scaling_of_inputs_is_empty_when_the_first_layer_has_weights(
    conv_source: KerasSource,
) -> None:
    assert scaling_of_inputs(read_tflite(conv_source.float32())) == ()


def test_operators_of_layers_takes_a_layer_with_its_activation(tmp_path: Path) -> None:
    model = randomized(dense_model())
    file = read_tflite(KerasSource(model, tmp_path, {}).float32())
    kept = operators_of_layers(file, leaf_layers(model), ["cla.*"])
    assert [operator.name for operator in kept.operators] == ["FULLY_CONNECTED", "SOFTMAX"]
    assert kept.not_found == ()


def test_operators_of_layers_names_what_it_cannot_tell_apart(conv_source: KerasSource) -> None:
    file = read_tflite(conv_source.float32())
    kept = operators_of_layers(file, leaf_layers(conv_source.model), ["relu"])
    assert kept.operators == ()
    assert [skipped.layer for skipped in kept.not_found] == ["relu"]
    assert "no weights" in kept.not_found[0].reason
