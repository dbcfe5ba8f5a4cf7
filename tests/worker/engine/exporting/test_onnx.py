"""ONNX files: float32, int8 from training rows, int8 from the model's own ranges."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime
import pytest

from app.errors import ExportFailed
from tests.builders import (
    branched_model,
    context_for,
    conv_model,
    normalization_model,
    outputs_of,
    randomized,
    rows_for,
    step,
)
from worker.engine.exporting.files import write_file
from worker.engine.exporting.onnx_file import OPSET, convert_onnx
from worker.engine.exporting.onnx_int8 import convert_qdq
from worker.engine.exporting.onnx_ranges import convert_known_ranges
from worker.engine.exporting.source import Converted, KerasSource, TfliteSource
from worker.engine.measuring.matching import find_kernel
from worker.engine.measuring.onnx_weights import read_onnx
from worker.engine.quantizing.levels import Grid

INT8 = "full_integer_quantization"


def run(content: bytes, rows: dict[str, Any], *outputs: str) -> list[Any]:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(list(outputs), rows)


def converted(model: Any, folder: Path, **parameters: Any) -> Converted:
    source = KerasSource(model, folder / "source", {})
    return convert_qdq(step(INT8, **parameters), source, context_for(model, folder))


def test_onnx_file_has_the_models_own_names_and_an_open_batch(tmp_path: Path) -> None:
    model = randomized(branched_model())
    content = convert_onnx(KerasSource(model, tmp_path, {}))
    proto = onnx.ModelProto.FromString(content)
    rows = rows_for(model, 5)
    assert [port.name for port in proto.graph.input] == ["left", "right"]
    assert [port.name for port in proto.graph.output] == ["kind", "amount"]
    assert {port.type.tensor_type.shape.dim[0].dim_param for port in proto.graph.input} == {"batch"}
    assert [one.version for one in proto.opset_import if one.domain == ""] == [OPSET]
    for given, wanted in zip(
        run(content, rows, "kind", "amount"), outputs_of(model, rows), strict=True
    ):
        np.testing.assert_allclose(given, wanted, atol=1e-5)


def test_onnx_file_needs_no_input_for_what_a_normalization_keeps(tmp_path: Path) -> None:
    model = randomized(normalization_model())
    content = convert_onnx(KerasSource(model, tmp_path, {}))
    assert [port.name for port in onnx.ModelProto.FromString(content).graph.input] == ["features"]
    rows = rows_for(model, 3)
    np.testing.assert_allclose(
        run(content, rows, "classes")[0], outputs_of(model, rows)[0], atol=1e-5
    )


def test_onnx_file_is_refused_with_the_operator_that_onnx_lacks(tmp_path: Path) -> None:
    given = keras.Input((4,), name="features")
    model = keras.Model(given, keras.ops.erfinv(keras.ops.tanh(given)))
    with pytest.raises(ExportFailed, match="Erfinv"):
        convert_onnx(KerasSource(model, tmp_path, {}))


def test_tflite_model_cannot_become_onnx(tmp_path: Path) -> None:
    with pytest.raises(ExportFailed, match="without Keras layers cannot be turned into onnx"):
        write_file("onnx", TfliteSource(b""), tmp_path / "conv", None)


def test_qdq_file_holds_int8_kernels_with_a_scale_for_each_channel(tmp_path: Path) -> None:
    model = randomized(conv_model())
    done = converted(model, tmp_path, calibration_samples=32)
    rows = rows_for(model, 8)
    file = read_onnx(done.content)
    kernels = {tensor.shape: tensor for tensor in file.weights}
    assert (done.variant, done.facts["onnx_float_operators"]) == ("int8", {})
    assert {kernel.type_name for kernel in kernels.values()} == {"INT8"}
    assert kernels[(4, 3, 3, 1)].scale.shape == (4,)
    assert find_kernel(np.asarray(model.get_layer("conv").kernel), file.weights) is not None
    off = np.abs(run(done.content, rows, "logits")[0] - outputs_of(model, rows)[0])
    assert 0 < off.max() < 0.1


def test_qdq_file_keeps_what_scales_the_inputs_and_excluded_layers_float(tmp_path: Path) -> None:
    scaled = converted(randomized(normalization_model()), tmp_path, calibration_samples=32)
    nodes = onnx.ModelProto.FromString(scaled.content).graph.node
    assert [node.op_type for node in nodes][-1] == "Softmax"
    assert scaled.facts["onnx_int8_operators"] == {"Gemm": 1}
    assert set(scaled.facts["onnx_float_operators"]) <= {"Add", "Mul", "Sub", "Div"}
    with pytest.raises(ExportFailed, match="nothing that it could quantize"):
        converted(randomized(normalization_model()), tmp_path, exclude=["classes"])


def test_qdq_file_has_no_16_bit_activations(tmp_path: Path) -> None:
    with pytest.raises(ExportFailed, match="16-bit"):
        converted(conv_model(), tmp_path, activation_bits=16)


def ranged_model() -> Any:
    """Pictures whose ranges are in the model, as quantization-aware training leaves it."""
    picture = keras.Input((6, 6, 2), name="picture")
    x = keras.quantizers.fake_quant_with_min_max_vars(picture, -3.0, 3.0)
    x = keras.layers.Conv2D(4, 3, activation="relu", name="conv")(x)
    x = keras.quantizers.fake_quant_with_min_max_vars(x, 0.0, 4.0)
    x = keras.layers.Flatten()(keras.layers.MaxPooling2D()(x))
    return randomized(keras.Model(picture, keras.layers.Dense(3, name="logits")(x)))


def test_ranges_and_levels_of_the_model_become_those_of_the_file(tmp_path: Path) -> None:
    model = ranged_model()
    layer = model.get_layer("conv")
    scale = np.full((1, 1, 1, 1), 0.02, np.float32)
    grid = Grid(scale, np.zeros(scale.shape, np.int32), 8, (3, 3, 2, 4))
    numbers = np.rint(np.asarray(layer.kernel) / 0.02).astype(np.int32)
    layer.kernel.assign(grid.values(numbers))
    source = KerasSource(model, tmp_path, {}, {"conv/kernel": grid})
    done = convert_known_ranges(source)
    assert done is not None
    stored = {tensor.shape: tensor for tensor in read_onnx(done.content).weights}[(4, 3, 3, 2)]
    rows = rows_for(model, 32)
    expected = outputs_of(model, rows)[0]
    off = np.abs(run(done.content, rows, "logits")[0] - expected)
    assert done.variant == "int8"
    np.testing.assert_array_equal(
        stored.raw.view(np.int8).reshape(stored.shape), np.moveaxis(numbers, -1, 0)
    )
    assert off.max() < 0.02 * np.abs(expected).max()


def test_channels_of_zeros_take_the_scale_of_those_beside_them(tmp_path: Path) -> None:
    """Runtimes round biases to multiples of it."""
    model = ranged_model()
    kernel = model.get_layer("conv").kernel
    scale = np.array([1, 1, 0.02, 0.01], np.float32).reshape(1, 1, 1, 4)
    kernel.assign(np.where(scale == 1, 0, np.rint(np.asarray(kernel) / scale) * scale))
    grid = Grid(scale, np.zeros(scale.shape, np.int32), 8, (3, 3, 2, 1))
    for levels in ({"conv/kernel": grid}, {}):
        done = convert_known_ranges(KerasSource(model, tmp_path, {}, levels))
        assert done is not None
        stored = {tensor.shape: tensor for tensor in read_onnx(done.content).weights}[(4, 3, 3, 2)]
        assert stored.scale is not None
        np.testing.assert_allclose(stored.scale[:2], stored.scale[2:].max())


def test_model_without_ranges_has_no_integers_of_its_own(conv_source: KerasSource) -> None:
    assert convert_known_ranges(conv_source) is None
