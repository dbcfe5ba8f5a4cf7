"""The conversion techniques on real models, read back from the files they write."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from app.errors import StepFailed
from tests.builders import (
    branched_model,
    context_for,
    conv_model,
    dense_model,
    outputs_of,
    randomized,
    recurrent_model,
    rows_for,
    step,
    write_npz,
)
from worker.engine.exporting.source import Converted, KerasSource, TfliteSource
from worker.engine.loading.datasets import load_dataset
from worker.engine.loading.models import input_specs
from worker.engine.measuring.runners import dequantized, quantized
from worker.engine.measuring.tflite_file import read_tflite
from worker.engine.techniques import technique


def converted(model: Any, folder: Path, tag: str, **parameters: Any) -> Converted:
    """The conversion of a model, calibrated on rows of `data_for`."""
    source = KerasSource(model, folder / "source", {})
    return technique(tag).convert(step(tag, **parameters), source, context_for(model, folder))


def run(content: bytes, rows: dict[str, Any]) -> dict[str, Any]:
    """Real-valued outputs by name for one row."""
    runner = Interpreter(model_content=content).get_signature_runner()
    given = {
        name: quantized(rows[name], detail) for name, detail in runner.get_input_details().items()
    }
    details = runner.get_output_details()
    return {name: dequantized(value, details[name]) for name, value in runner(**given).items()}


@pytest.mark.parametrize(
    ("tag", "parameters", "variant", "tolerance"),
    [
        ("float16_quantization", {}, "float16", 0.01),
        ("dynamic_range_quantization", {}, "float32", 0.05),
        ("full_integer_quantization", {}, "int8", 0.15),
        ("full_integer_quantization", {"io": "integer"}, "int8", 0.15),
        ("full_integer_quantization", {"activation_bits": 16}, "int16x8", 0.05),
        ("full_integer_quantization", {"activation_bits": 16, "io": "integer"}, "int16x8", 0.05),
    ],
)
def test_conversion_keeps_the_outputs_of_every_port_close(
    tag: str, parameters: dict[str, Any], variant: str, tolerance: float, tmp_path: Path
) -> None:
    model = randomized(branched_model())
    done = converted(model, tmp_path, tag, **parameters)
    rows = rows_for(model, 1, seed=9)
    expected = dict(zip(("kind", "amount"), outputs_of(model, rows), strict=True))
    given = run(done.content, rows)
    assert done.variant == variant
    for name, values in expected.items():
        np.testing.assert_allclose(given[name], values, atol=tolerance * 3)


def test_dynamic_range_quantizes_kernels_of_1024_weights(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((32,), name="features"), keras.layers.Dense(32)])
    done = converted(model, tmp_path, "dynamic_range_quantization")
    assert (done.variant, done.facts, done.warnings) == (
        "dynamic_range",
        {"quantized_kernels": 1},
        (),
    )


def test_dynamic_range_says_so_when_no_kernel_was_large_enough(tmp_path: Path) -> None:
    done = converted(randomized(dense_model()), tmp_path, "dynamic_range_quantization")
    assert not read_tflite(done.content).is_quantized
    assert (done.variant, done.facts) == ("float32", {"quantized_kernels": 0})
    assert any("nothing was quantized" in warning for warning in done.warnings)


@pytest.mark.parametrize(("bits", "dtype"), [(8, np.int8), (16, np.int16)])
def test_full_integer_leaves_no_float_when_ports_are_integers(
    bits: int, dtype: type, tmp_path: Path
) -> None:
    done = converted(
        randomized(conv_model()),
        tmp_path,
        "full_integer_quantization",
        activation_bits=bits,
        io="integer",
    )
    interpreter = Interpreter(model_content=done.content)
    details = [*interpreter.get_input_details(), *interpreter.get_output_details()]
    assert {detail["dtype"] for detail in details} == {dtype}
    assert not any(tensor.is_float for tensor in read_tflite(done.content).tensors)
    assert done.facts["float_operators"] == {}


def test_full_integer_has_float_ports_when_asked(tmp_path: Path) -> None:
    done = converted(randomized(conv_model()), tmp_path, "full_integer_quantization")
    interpreter = Interpreter(model_content=done.content)
    assert interpreter.get_input_details()[0]["dtype"] is np.float32
    assert read_tflite(done.content).float_operators == ()


def test_full_integer_warns_when_it_calibrates_on_few_rows(tmp_path: Path) -> None:
    done = converted(
        randomized(conv_model()), tmp_path, "full_integer_quantization", calibration_samples=20
    )
    assert done.facts["calibration_samples"] == 20
    assert any("20 training samples only" in warning for warning in done.warnings)


def test_full_integer_keeps_excluded_layers_float(tmp_path: Path) -> None:
    done = converted(
        randomized(dense_model()), tmp_path, "full_integer_quantization", exclude=["hidden"]
    )
    file = read_tflite(done.content)
    kernels = {t.shape: t.type_name for t in file.weights if len(t.shape) == 2}
    assert kernels == {(8, 4): "FLOAT32", (3, 8): "INT8"}
    assert done.variant == "mixed"


def test_full_integer_says_which_excluded_layer_it_could_not_keep(tmp_path: Path) -> None:
    done = converted(
        randomized(conv_model()), tmp_path, "full_integer_quantization", exclude=["pool"]
    )
    assert [skipped.layer for skipped in done.skipped] == ["pool"]
    assert done.variant == "int8"


def scaled_model() -> keras.Model:
    """Features of very different ranges, normalized by the model, summed by it."""
    return keras.Sequential(
        [
            keras.Input((3,), name="features"),
            keras.layers.Normalization(mean=[500.0, 1.0, 0.01], variance=[1e6, 1.0, 1e-4]),
            keras.layers.Dense(4, name="hidden"),
            keras.layers.Dense(1, name="sum"),
        ]
    )


def test_full_integer_keeps_the_scaling_of_inputs_float(tmp_path: Path) -> None:
    """One scale for all features would leave the narrow ones without values."""
    model = scaled_model()
    rng = np.random.default_rng(0)
    rows = rng.normal([500.0, 1.0, 0.01], [1e3, 1.0, 1e-2], (120, 3)).astype("float32")
    file = write_npz(
        tmp_path / "rows.npz",
        {"x_train": rows, "y_train": rows[:, :1], "x_test": rows[:20], "y_test": rows[:20, :1]},
    )
    context = replace(
        context_for(model, tmp_path), data=load_dataset(file, input_specs(model), ["sum"])
    )
    source = KerasSource(model, tmp_path / "source", {})
    row = {"features": rows[:1]}
    expected = outputs_of(model, row)[0]
    errors = {}
    for io in ("float", "integer"):
        done = technique("full_integer_quantization").convert(
            step("full_integer_quantization", io=io), source, context
        )
        errors[io] = float(np.abs(run(done.content, row)["sum"] - expected).max())
        stays = sorted(operator.name for operator in read_tflite(done.content).float_operators)
        assert stays == (["MUL", "SUB"] if io == "float" else [])
        assert done.variant == ("mixed" if io == "float" else "int8")
    assert errors["float"] < 0.1 < errors["integer"]


def test_full_integer_warns_when_integer_inputs_are_scaled_by_the_model(tmp_path: Path) -> None:
    done = converted(scaled_model(), tmp_path, "full_integer_quantization", io="integer")
    assert any("share one scale" in warning for warning in done.warnings)


def test_full_integer_refuses_recurrent_models(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="recurrent"):
        converted(recurrent_model(), tmp_path, "full_integer_quantization")


@pytest.mark.parametrize("tag", ["float16_quantization", "dynamic_range_quantization"])
def test_conversion_of_recurrent_models_runs(tag: str, tmp_path: Path) -> None:
    model = randomized(recurrent_model())
    rows = rows_for(model, 1)
    given = run(converted(model, tmp_path, tag).content, rows)["classes"]
    np.testing.assert_allclose(given, outputs_of(model, rows)[0], atol=0.05)


@pytest.mark.parametrize(
    ("tag", "parameters", "types"),
    [
        ("float16_quantization", {}, {"FLOAT16"}),
        ("dynamic_range_quantization", {}, {"INT8"}),
        ("full_integer_quantization", {"io": "integer"}, {"INT8"}),
        ("full_integer_quantization", {"activation_bits": 16}, {"INT8"}),
    ],
)
def test_conversion_of_an_uploaded_tflite_file_quantizes_its_kernels(
    tag: str,
    parameters: dict[str, Any],
    types: set[str],
    conv_source: KerasSource,
    conv_files: dict[str, bytes],
    tmp_path: Path,
) -> None:
    source = TfliteSource(conv_files["float32"])
    context = context_for(conv_source.model, tmp_path)
    done = technique(tag).convert(step(tag, **parameters), source, context)
    kernels = {t.type_name for t in read_tflite(done.content).weights if len(t.shape) > 1}
    rows = rows_for(conv_source.model, 1)
    expected = outputs_of(conv_source.model, rows)[0]
    assert kernels == types
    np.testing.assert_allclose(run(done.content, rows)["logits"], expected, atol=0.3)


def test_full_integer_excludes_operators_of_an_uploaded_file_by_name(
    conv_source: KerasSource, conv_files: dict[str, bytes], tmp_path: Path
) -> None:
    source = TfliteSource(conv_files["float32"])
    last = read_tflite(source.content).operators[-1].outputs[0].name
    done = technique("full_integer_quantization").convert(
        step("full_integer_quantization", exclude=[last]),
        source,
        context_for(conv_source.model, tmp_path),
    )
    assert [one.name for one in read_tflite(done.content).float_operators] == ["FULLY_CONNECTED"]


@pytest.mark.parametrize(
    "tag", ["float16_quantization", "dynamic_range_quantization", "full_integer_quantization"]
)
def test_conversion_refuses_a_file_that_is_quantized(
    tag: str, conv_source: KerasSource, conv_files: dict[str, bytes], tmp_path: Path
) -> None:
    context = context_for(conv_source.model, tmp_path)
    with pytest.raises(StepFailed, match="quantized already"):
        technique(tag).convert(step(tag), TfliteSource(conv_files["int8"]), context)
