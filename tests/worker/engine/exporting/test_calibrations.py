"""Integer files with ranges read in every way: from rows or made-up inputs, in model or file."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from tests.builders import (
    context_for,
    conv_model,
    dense_model,
    outputs_of,
    randomized,
    rows_for,
    step,
    write_npz,
)
from worker.engine.context import StepContext
from worker.engine.exporting.integers import default_tflite
from worker.engine.exporting.source import Converted, KerasSource, TfliteSource
from worker.engine.loading.datasets import load_dataset
from worker.engine.loading.models import heads, input_specs
from worker.engine.measuring.tflite_file import read_tflite
from worker.engine.quantizing.fake_quant import ranges_of
from worker.engine.techniques.activation_quantization import apply
from worker.engine.techniques.full_integer_quantization import convert

pytestmark = pytest.mark.slow

Array = NDArray[Any]
METHODS = ("moving_average", "mse", "entropy")
# Of five features: as far apart as those of a table are.
SPREAD = np.array([0.01, 1.0, 30.0, 1000.0, 5.0], np.float32)


def predicted(content: bytes, rows: Array) -> Array:
    """What a file with one float input and one float output gives, row by row."""
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    given = interpreter.get_input_details()[0]["index"]
    made = interpreter.get_output_details()[0]["index"]
    found = []
    for row in range(len(rows)):
        interpreter.set_tensor(given, rows[row : row + 1])
        interpreter.invoke()
        found.append(interpreter.get_tensor(made)[0])
    return np.stack(found)


def input_scale(content: bytes) -> float:
    """Of the first quantized tensor that has the shape of the input."""
    interpreter = Interpreter(model_content=content, num_threads=1)
    shape = list(interpreter.get_input_details()[0]["shape"])
    return next(
        float(detail["quantization"][0])
        for detail in interpreter.get_tensor_details()
        if detail["quantization"][0] and list(detail["shape"]) == shape
    )


def converted(model: Any, context: StepContext, folder: Path, **parameters: Any) -> Converted:
    source = KerasSource(model, folder / "source", {})
    return convert(step("full_integer_quantization", **parameters), source, context)


def with_rows(context: StepContext, model: Any, arrays: dict[str, Array], folder: Path) -> Any:
    file = write_npz(folder / "own.npz", arrays)
    outputs = [head.output for head in heads(model, None)]
    return replace(context, data=load_dataset(file, input_specs(model), outputs))


@pytest.mark.parametrize("method", METHODS)
def test_every_calibration_gives_a_file_that_decides_alike(method: str, tmp_path: Path) -> None:
    model = randomized(conv_model())
    context = context_for(model, tmp_path)

    made = converted(model, context, tmp_path, calibration=method)

    rows = rows_for(model, 64, seed=9)
    (wanted,) = outputs_of(model, rows)
    found = predicted(made.content, rows["picture"])
    assert (found.argmax(axis=1) == wanted.argmax(axis=1)).mean() >= 0.9
    assert made.variant == "int8"
    assert made.facts["calibration"] == method


def test_an_outlier_widens_min_max_alone(tmp_path: Path) -> None:
    model = randomized(dense_model())
    rows = np.random.default_rng(1).standard_normal((400, 4)).astype("float32")
    rows[7, 2] = 60.0
    labels = np.arange(400) % 3
    arrays = {"x_train": rows, "y_train": labels, "x_test": rows, "y_test": labels}
    context = with_rows(context_for(model, tmp_path), model, arrays, tmp_path)

    scales = {
        method: input_scale(
            converted(
                model, context, tmp_path / method, calibration=method, calibration_samples=400
            ).content
        )
        for method in ("min_max", "entropy")
    }

    assert scales["entropy"] < 0.3 * scales["min_max"]


@pytest.mark.parametrize("method", ["percentile", "entropy"])
def test_an_uploaded_file_is_calibrated_by_any_method(method: str, tmp_path: Path) -> None:
    model = randomized(dense_model())
    context = context_for(model, tmp_path)
    source = TfliteSource(KerasSource(model, tmp_path, {}).float32())

    made = convert(step("full_integer_quantization", calibration=method), source, context)

    rows = rows_for(model, 64, seed=9)
    (wanted,) = outputs_of(model, rows)
    found = predicted(made.content, rows["features"])
    assert (found.argmax(axis=1) == wanted.argmax(axis=1)).mean() >= 0.9


def test_sixteen_bits_are_calibrated_by_any_method(tmp_path: Path) -> None:
    model = randomized(dense_model())

    made = converted(
        model, context_for(model, tmp_path), tmp_path, activation_bits=16, calibration="mse"
    )

    assert made.variant == "int16x8"


def test_made_up_inputs_stand_in_for_data(tmp_path: Path) -> None:
    model = randomized(conv_model())
    context = replace(context_for(model, tmp_path), data=None, tasks=())

    made = converted(model, context, tmp_path, calibration_data="synthetic", calibration_samples=16)

    assert made.variant == "int8"
    assert made.facts["calibration_data"] == "synthetic"
    assert any("synthetic" in warning for warning in made.warnings)


def test_the_file_computes_what_the_rounded_model_does(tmp_path: Path) -> None:
    model = randomized(conv_model())
    rounded = apply(step("activation_quantization"), model, context_for(model, tmp_path)).model

    made = default_tflite(KerasSource(rounded, tmp_path / "source", {}))

    rows = rows_for(model, 64, seed=9)
    (wanted,) = outputs_of(rounded, rows)
    found = predicted(made.content, rows["picture"])
    assert made.variant == "int8"
    # Kernels are rounded to int8 besides, which moves logits of about 1 by some hundredths.
    np.testing.assert_allclose(found, wanted, atol=0.05)


def test_what_an_earlier_step_left_out_is_calibrated(tmp_path: Path) -> None:
    model = randomized(dense_model())
    context = context_for(model, tmp_path)
    asked = step("activation_quantization", include=["hidden"], calibration="moving_average")
    rounded = apply(asked, model, context).model
    (known,) = ranges_of(rounded).values()

    made = convert(
        step("full_integer_quantization"), KerasSource(rounded, tmp_path / "source", {}), context
    )

    file = read_tflite(made.content)
    hidden = file.operators[1].outputs[0]
    assert made.variant == "int8"
    assert made.facts["float_operators"] == {}
    assert made.facts["ranges_of_the_model"] == 1
    assert made.facts["calibration"] == "min_max"
    assert hidden.scale[0] == pytest.approx((known.maximum - known.minimum) / 255, rel=1e-3)


@pytest.mark.parametrize("num_bits", [9, 16])
def test_ranges_of_many_bits_are_left_out_of_tflite(num_bits: int, tmp_path: Path) -> None:
    model = randomized(dense_model())
    asked = step("activation_quantization", num_bits=num_bits)
    rounded = apply(asked, model, context_for(model, tmp_path)).model

    made = default_tflite(KerasSource(rounded, tmp_path / "source", {}))

    rows = rows_for(model, 32, seed=9)
    (wanted,) = outputs_of(model, rows)
    np.testing.assert_allclose(predicted(made.content, rows["features"]), wanted, atol=1e-4)
    assert made.variant == "float32_unrounded"
    assert "leaves the rounding of activations out" in made.warnings[0]


@pytest.mark.parametrize("mapping", ["codebook", "power_of_two", "mu_law"])
def test_mappings_that_are_simulated_are_simulated_in_tflite_too(
    mapping: str, tmp_path: Path
) -> None:
    model = randomized(dense_model())
    parameters = {"mapping": mapping, "num_bits": 4, "exclude": ["classes"]}
    asked = step("activation_quantization", **parameters)
    rounded = apply(asked, model, context_for(model, tmp_path)).model

    made = default_tflite(KerasSource(rounded, tmp_path / "source", {}))

    rows = rows_for(model, 32, seed=9)
    (wanted,) = outputs_of(rounded, rows)
    np.testing.assert_allclose(predicted(made.content, rows["features"]), wanted, atol=1e-4)
    assert made.variant == "float32"


def regression() -> tuple[Any, dict[str, Array]]:
    """A net that scales five features of different ranges itself, solved for its last layer."""
    rng = np.random.default_rng(0)
    normal = rng.standard_normal((800, 5)).astype("float32")
    target = np.sin(normal[:, 0]) + np.abs(normal[:, 1]) + normal[:, 2] - normal[:, 3:].sum(axis=1)
    rows = normal * SPREAD + 3 * SPREAD
    keras.utils.set_random_seed(4)
    given = keras.Input((5,), name="features")
    scaling = keras.layers.Normalization(name="scaling")
    scaling.adapt(rows)
    hidden = keras.layers.Dense(96, activation="relu", name="hidden")(scaling(given))
    model = keras.Model(given, keras.layers.Dense(1, name="amount")(hidden))
    biases = rng.uniform(-2, 2, 96).astype("float32")
    model.get_layer("hidden").bias.assign(biases)
    (features,) = outputs_of(keras.Model(given, hidden), {"features": rows})
    solution = np.linalg.solve(features.T @ features + np.eye(96), features.T @ target)
    model.get_layer("amount").kernel.assign(solution[:, np.newaxis])
    labels = {"y_train": target[:500].astype("float32"), "y_test": target[500:].astype("float32")}
    return model, {"x_train": rows[:500], "x_test": rows[500:], **labels}


def r2(found: Array, wanted: Array) -> float:
    return float(1 - ((found.ravel() - wanted) ** 2).mean() / wanted.var())


@pytest.mark.parametrize("method", ["min_max", "mse"])
def test_integers_keep_a_regression_whose_inputs_scale_themselves(
    method: str, tmp_path: Path
) -> None:
    model, arrays = regression()
    context = with_rows(context_for(model, tmp_path), model, arrays, tmp_path)
    (in_float,) = outputs_of(model, {"features": arrays["x_test"]})
    before = r2(in_float, arrays["y_test"])

    made = converted(model, context, tmp_path, calibration=method)

    after = r2(predicted(made.content, arrays["x_test"]), arrays["y_test"])
    assert before > 0.9
    assert after > before - 0.01
    assert set(made.facts["float_operators"]) == {"SUB", "MUL"}
    assert made.warnings == ()
