"""The per-layer table."""

from pathlib import Path

import keras
import numpy as np
import pytest

from tests.builders import branched_model, nested_model
from worker.engine.exporting.source import KerasSource
from worker.engine.exporting.tflite import convert_dynamic_range
from worker.engine.measuring.layers import (
    Stored,
    layer_table,
    leaf_layers,
    relative_distance,
    tflite_layer_table,
)
from worker.engine.measuring.macs import macs_by_layer
from worker.engine.measuring.tflite_file import read_tflite
from worker.engine.measuring.tflite_macs import tflite_macs
from worker.engine.surgery.cloning import clone_with_weights


@pytest.mark.parametrize(("variant", "bits"), [("float32", 32), ("float16", 16), ("int8", 8)])
def test_layer_table_reads_bits_from_the_file(
    conv_source: KerasSource, conv_files: dict[str, bytes], variant: str, bits: int
) -> None:
    before = Stored(conv_source.model, read_tflite(conv_files["float32"]))
    after = Stored(conv_source.model, read_tflite(conv_files[variant]))
    rows = layer_table(before, after, macs_by_layer(conv_source.model, [(6, 6, 1)]))
    kernels = {row.name: row.bits for row in rows if row.class_name != "BatchNormalization"}
    assert kernels == {"conv": bits, "logits": bits}


def test_layer_table_measures_the_error_of_what_is_stored(
    conv_source: KerasSource, conv_files: dict[str, bytes]
) -> None:
    model = conv_source.model
    before = Stored(model, read_tflite(conv_files["float32"]))
    after = Stored(model, read_tflite(conv_files["int8"]))
    errors = {row.name: row.weight_error for row in layer_table(before, after, {})}
    # 127 steps to the largest weight of a channel: far below 1 %, and not nothing.
    for name in ("conv", "logits"):
        error = errors[name]
        assert error is not None
        assert 0.0005 < error < 0.01
    assert errors["norm"] is None


def test_layer_table_counts_zeros_and_compares_kernels_when_there_is_no_tflite_file(
    conv_source: KerasSource,
) -> None:
    pruned = clone_with_weights(conv_source.model)
    layer = pruned.get_layer("logits")
    kernel, bias = layer.get_weights()
    kernel[:, 0] = 0
    layer.set_weights([kernel, bias])
    rows = layer_table(Stored(conv_source.model, None), Stored(pruned, None), {"logits": 12})
    row = next(row for row in rows if row.name == "logits")
    assert (row.parameter_count, row.nonzero_parameter_count, row.macs) == (15, 11, 12)
    assert row.sparsity == pytest.approx(4 / 15)
    assert (row.bits, row.output_shape) == (32, (3,))
    old = np.asarray(conv_source.model.get_layer("logits").kernel)
    assert row.weight_error == pytest.approx(
        float(np.linalg.norm(old[:, 0]) / np.linalg.norm(old)), rel=1e-5
    )


def test_layer_table_has_every_layer_with_weights_once() -> None:
    model = branched_model()
    rows = layer_table(Stored(model, None), Stored(model, None), {})
    assert [row.name for row in rows] == ["shared", "kind", "amount"]


def twin_model() -> keras.Model:
    """Models `left` and `right`, each with a `Dense` called `fc` of another width, then `sum`."""
    keras.utils.set_random_seed(8)
    given = keras.Input((4,), name="features")
    halves = [
        keras.Sequential([keras.Input((4,)), keras.layers.Dense(units, name="fc")], name=f"{side}")(
            given
        )
        for side, units in (("left", 3), ("right", 5))
    ]
    joined = keras.layers.Concatenate(name="joined")(halves)
    return keras.Model(given, keras.layers.Dense(1, name="sum")(joined))


def test_layer_table_tells_layers_of_one_name_in_two_models_apart() -> None:
    model = twin_model()
    changed = clone_with_weights(model)
    layer = changed.get_layer("left").get_layer("fc")
    layer.set_weights([2 * weight for weight in layer.get_weights()])
    macs = macs_by_layer(model, [(4,)])
    rows = layer_table(Stored(model, None), Stored(changed, None), macs)
    assert [(row.name, row.macs, row.weight_error) for row in rows] == [
        ("left/fc", 4 * 3, pytest.approx(1)),
        ("right/fc", 4 * 5, 0),
        ("sum", 8, 0),
    ]


def test_layer_table_counts_the_zeros_that_rounding_made(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(32, name="wide")])
    # Weights of 0.001 beside one of 1 are less than half a step of 1/127.
    kernel = np.full((64, 32), 0.001, np.float32)
    kernel[0] = 1
    model.get_layer("wide").set_weights([kernel, np.zeros(32)])
    source = KerasSource(model, tmp_path, {})
    file = read_tflite(convert_dynamic_range(source.saved_model_for_tflite()))
    stored = Stored(model, file)
    (row,) = layer_table(Stored(model, None), stored, {})
    assert (row.parameter_count, row.nonzero_parameter_count) == (64 * 32 + 32, 32)
    assert stored.counts().nonzero_parameter_count == 32
    assert Stored(model, None).counts().nonzero_parameter_count == 64 * 32


def test_leaf_layers_walk_into_nested_models() -> None:
    names = [layer.name for layer in leaf_layers(nested_model())]
    assert "inner" in names
    assert "backbone" not in names


def test_tflite_layer_table_has_a_row_for_every_operator_with_weights(
    conv_files: dict[str, bytes],
) -> None:
    before, after = read_tflite(conv_files["float32"]), read_tflite(conv_files["float16"])
    rows = tflite_layer_table(before, after, tflite_macs(after))
    assert [(row.class_name, row.bits, row.parameter_count) for row in rows] == [
        ("CONV_2D", 16, 40),
        ("FULLY_CONNECTED", 16, 15),
    ]
    assert [row.macs for row in rows] == [4 * 4 * 9 * 4, 12]


def test_relative_distance_is_unknown_when_shapes_differ() -> None:
    assert relative_distance([np.ones((2, 3), np.float32)], [np.ones((2, 2), np.float32)]) is None


def test_relative_distance_is_that_of_all_arrays_together() -> None:
    before = [np.array([3.0], np.float32), np.array([4.0], np.float32)]
    after = [np.array([0.0], np.float32), np.array([4.0], np.float32)]
    assert relative_distance(before, after) == pytest.approx(0.6)
