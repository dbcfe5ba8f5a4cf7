"""Tflite files whose integers are known before: ranges in the model, levels of weights."""

import gzip
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from tests.builders import context_for, conv_model, randomized, rows_for, step
from tests.worker.engine.quantizing.test_fake_quant import residual_model, wide
from worker.engine.exporting.integers import default_tflite, from_ranges
from worker.engine.exporting.level_storage import with_stored_levels
from worker.engine.exporting.source import KerasSource
from worker.engine.exporting.tflite import Variant
from worker.engine.measuring.tflite_file import Tensor, read_tflite
from worker.engine.quantizing.fake_quant import Range, with_fake_quantization
from worker.engine.quantizing.int8_levels import as_int8
from worker.engine.quantizing.levels import Codebook, Grid, Levels
from worker.engine.surgery.weights import assign_weights, named_weights
from worker.engine.techniques import technique

pytestmark = pytest.mark.slow


def grid_of(weight: Any, axes: tuple[int, ...], num_bits: int) -> Grid:
    limit = 2 ** (num_bits - 1) - 1
    scale = (np.abs(weight).max(axes, keepdims=True) / limit).astype(np.float32)
    scale[scale == 0] = 1
    block = tuple(
        1 if one > 1 else length for one, length in zip(scale.shape, weight.shape, strict=True)
    )
    return Grid(scale, np.zeros(scale.shape, np.int64), num_bits, block)


def on_grids(model: Any, num_bits: int) -> dict[str, Levels]:
    """Every kernel on a grid of its own for each channel; a depthwise one has its inputs' too."""
    levels: dict[str, Levels] = {}
    for name, weight in named_weights(model).items():
        if name.endswith("kernel"):
            values = weight.numpy()
            axes = (0, 1) if name.startswith("depthwise") else tuple(range(values.ndim - 1))
            grid = grid_of(values, axes, num_bits)
            numbers = np.rint(values / grid.scale).astype(np.int64)
            assign_weights(model, {name: grid.values(numbers)})
            levels[name] = grid
    return levels


def on_codebooks(model: Any) -> dict[str, Levels]:
    codebook = Codebook(np.array([-0.91, -0.33, 0.0, 0.29, 0.77], np.float32))
    levels: dict[str, Levels] = {}
    for name, weight in named_weights(model).items():
        if name.endswith("kernel"):
            near = np.abs(weight.numpy()[..., np.newaxis] - codebook.centroids).argmin(-1)
            assign_weights(model, {name: codebook.values(near)})
            levels[name] = codebook
    return levels


def kernels_of(content: bytes) -> list[Tensor]:
    return [one for one in read_tflite(content).weights if one.type_name == "INT8"]


def run(content: bytes, rows: Any) -> list[Any]:
    runner = Interpreter(model_content=content).get_signature_runner()
    outputs = runner(**{next(iter(runner.get_input_details())): rows})
    return [outputs[name] for name in sorted(outputs)]


def test_ranges_of_the_file_are_those_of_the_model(tmp_path: Path) -> None:
    model = randomized(residual_model())
    ranges = wide(model) | {"first": Range(0.0, 5.1), "tanh:before_activation": Range(-4.0, 6.2)}
    source = KerasSource(with_fake_quantization(model, ranges), tmp_path, {})

    converted = default_tflite(source)

    file = read_tflite(converted.content)
    outputs = {operator.name: operator.outputs[0] for operator in reversed(file.operators)}
    assert converted.variant == Variant.INT8
    assert outputs["CONV_2D"].scale == pytest.approx([0.02])
    assert outputs["CONV_2D"].zero_point == [-128]
    assert outputs["DEPTHWISE_CONV_2D"].scale == pytest.approx([60 / 255])
    before_tanh = next(one.inputs[0] for one in file.operators if one.name == "TANH")
    assert before_tanh.scale == pytest.approx([0.04])
    assert before_tanh.zero_point == [-28]
    assert outputs["TANH"].scale == pytest.approx([1 / 128])
    assert not file.float_operators


@pytest.mark.parametrize("num_bits", [4, 8])
def test_kernels_of_the_file_are_the_integers_of_their_grids(num_bits: int, tmp_path: Path) -> None:
    model = randomized(residual_model())
    levels = on_grids(model, num_bits)
    source = KerasSource(with_fake_quantization(model, wide(model)), tmp_path, {}, levels)

    converted = from_ranges(source, io="float")

    assert converted.facts["weights_on_their_levels"] == 4
    first = named_weights(model)["first/kernel"].numpy()
    grid = levels["first/kernel"]
    stored = next(one for one in kernels_of(converted.content) if one.shape == (4, 3, 3, 2))
    assert isinstance(grid, Grid)
    np.testing.assert_array_equal(stored.scale, grid.scale.ravel())
    np.testing.assert_array_equal(np.moveaxis(stored.values, 0, -1), first)
    # The depthwise kernel was folded with its normalization: its integers are the same still.
    folded = next(one for one in kernels_of(converted.content) if one.shape[0] == 1)
    numbers = grid_numbers(levels, model, "depthwise/kernel")
    np.testing.assert_array_equal(np.abs(folded.raw.view(np.int8)), np.abs(numbers).ravel())


def grid_numbers(levels: dict[str, Levels], model: Any, name: str) -> Any:
    return levels[name].numbers(named_weights(model)[name].numpy())


def test_the_file_computes_what_the_model_does(tmp_path: Path) -> None:
    model = randomized(residual_model())
    levels = on_grids(model, 4)
    quantized = with_fake_quantization(model, dict.fromkeys(wide(model), Range(-8.0, 8.0)))
    source = KerasSource(quantized, tmp_path, {}, levels)

    converted = from_ranges(source, io="float")

    rows = rows_for(model, 64)["picture"]
    kind = np.asarray(quantized(rows)[0])
    end, probabilities = run(converted.content, rows)
    np.testing.assert_allclose(probabilities, kind, atol=0.05)
    assert np.abs(probabilities - kind).mean() < 0.01
    assert np.abs(end - np.asarray(quantized(rows)[1])).mean() < 0.05


def test_shared_values_stay_one_integer_each(tmp_path: Path) -> None:
    model = randomized(residual_model())
    levels = on_codebooks(model)
    source = KerasSource(with_fake_quantization(model, wide(model)), tmp_path, {})
    naive = from_ranges(source, io="float").content

    kept = with_stored_levels(naive, model, levels)

    assert len(kept.stored) == 4
    assert kept.lost == ()
    for tensor in kernels_of(kept.content):
        assert len(np.unique(np.abs(tensor.raw.view(np.int8)))) <= 5


def test_shared_values_compress_better_than_what_the_converter_makes_of_them(
    tmp_path: Path,
) -> None:
    """Channels whose largest values differ have scales of their own, so one value many integers."""
    rows = keras.Input((64,), name="rows")
    model = randomized(keras.Model(rows, keras.layers.Dense(64, name="first")(rows)))
    codebook = Codebook(np.linspace(-1, 1, 16).astype(np.float32))
    drawn = np.random.default_rng(3).normal(0, 0.3, (64, 64)).clip(-1, 1)
    near = np.abs(drawn[..., np.newaxis] - codebook.centroids).argmin(-1)
    assign_weights(model, {"first/kernel": codebook.values(near)})
    levels: dict[str, Levels] = {"first/kernel": codebook}
    source = KerasSource(with_fake_quantization(model, wide(model)), tmp_path, {})
    naive = from_ranges(source, io="float").content

    kept = with_stored_levels(naive, model, levels)

    assert len(gzip.compress(kept.content)) < 0.95 * len(gzip.compress(naive))


def with_dead_channels(model: Any) -> dict[str, Levels]:
    """Kernels on grids; of the first, two channels are nothing but zeros beside a bias."""
    first = model.get_layer("conv")
    kernel, bias = (np.array(one) for one in first.get_weights())
    kernel[..., :2], bias[:2] = 0, (0.7, 0.31)
    first.set_weights([kernel, bias])
    return on_grids(model, 8)


def test_biases_of_channels_without_weights_stay(tmp_path: Path) -> None:
    picture = keras.Input((6, 6, 2), name="picture")
    conv = keras.layers.Conv2D(4, 3, name="conv")(picture)
    model = randomized(keras.Model(picture, conv))
    levels = with_dead_channels(model)
    ranged = with_fake_quantization(model, wide(model) | {"conv": Range(-4.0, 4.0)})

    converted = from_ranges(KerasSource(ranged, tmp_path, {}, levels), io="float")

    assert converted.facts["weights_on_their_levels"] == 1
    computed = run(converted.content, rows_for(model, 4)["picture"])[0]
    np.testing.assert_allclose(computed[..., 0], 0.7, atol=4 / 255)
    np.testing.assert_allclose(computed[..., 1], 0.31, atol=4 / 255)


def test_kernels_whose_scale_would_move_a_bias_are_left_to_the_converter(tmp_path: Path) -> None:
    features = keras.Input((1,), name="features")
    model = keras.Model(features, keras.layers.Dense(2, name="dense")(features))
    model.set_weights([np.array([[0.5, -0.5]], np.float32), np.array([0.2, -0.1], np.float32)])
    # Of products with this step, 0.5 x 8 / 255, the output tells three apart.
    levels = {"dense/kernel": Codebook(np.array([-0.5, 0.5], np.float32))}
    limits = dict(zip(wide(model), (Range(-4.0, 4.0), Range(-0.7, 0.7)), strict=True))
    source = KerasSource(with_fake_quantization(model, limits), tmp_path, {}, levels)

    converted = from_ranges(source, io="float")

    assert "dense/kernel" in converted.warnings[0]
    assert converted.facts["weights_on_their_levels"] == 0


def test_dynamic_range_keeps_shared_values(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((32,)), keras.layers.Dense(40, name="wide")])
    randomized(model)
    levels = on_codebooks(model)
    source = KerasSource(model, tmp_path / "s", {}, levels)

    converted = technique("dynamic_range_quantization").convert(
        step("dynamic_range_quantization"), source, context_for(model, tmp_path)
    )

    assert converted.facts["weights_on_their_levels"] == 1
    (kernel,) = kernels_of(converted.content)
    assert len(np.unique(kernel.raw)) == 5
    np.testing.assert_allclose(kernel.values.T, model.get_weights()[0], atol=0.004)


def test_full_integer_uses_the_ranges_of_the_model(tmp_path: Path) -> None:
    model = randomized(conv_model())
    ranges = wide(model) | {"relu": Range(0.0, 2.55)}
    source = KerasSource(with_fake_quantization(model, ranges), tmp_path / "s", {})

    converted = technique("full_integer_quantization").convert(
        step("full_integer_quantization", io="integer"), source, context_for(model, tmp_path)
    )

    file = read_tflite(converted.content)
    convolution = next(one for one in file.operators if one.name == "CONV_2D")
    assert converted.variant == Variant.INT8
    assert convolution.outputs[0].scale == pytest.approx([0.01])
    assert converted.facts["ranges_of_the_model"] == len(ranges)
    assert converted.facts["calibration"] is None
    assert file.inputs[0].tensor.type_name == "INT8"


def test_excluded_layers_compute_in_float(tmp_path: Path) -> None:
    model = randomized(conv_model())
    source = KerasSource(with_fake_quantization(model, wide(model)), tmp_path / "s", {})

    converted = technique("full_integer_quantization").convert(
        step("full_integer_quantization", exclude=["logits"]), source, context_for(model, tmp_path)
    )

    assert converted.variant == Variant.MIXED
    assert converted.facts["float_operators"] == {"FULLY_CONNECTED": 1}


def test_other_variants_are_made_of_the_model_without_ranges(tmp_path: Path) -> None:
    model = randomized(conv_model())
    source = KerasSource(with_fake_quantization(model, wide(model)), tmp_path / "s", {})

    converted = technique("float16_quantization").convert(
        step("float16_quantization"), source, context_for(model, tmp_path)
    )

    assert not any(one.type_name == "INT8" for one in read_tflite(converted.content).tensors)


def test_numbers_of_an_affine_grid_count_from_its_zero_point() -> None:
    grid = Grid(np.full((1, 1), 0.5, np.float32), np.full((1, 1), -3), 4, (2, 2))
    numbers = np.array([[-8, 7], [-3, 0]])

    stored = as_int8(grid, grid.values(numbers))

    assert stored is not None
    np.testing.assert_array_equal(stored.numbers, numbers + 3)


def test_an_affine_grid_of_eight_bits_may_not_fit() -> None:
    grid = Grid(np.full((1, 1), 0.5, np.float32), np.full((1, 1), -128), 8, (1, 2))

    assert as_int8(grid, grid.values(np.array([[-128, 127]]))) is None


def test_a_codebook_is_rounded_where_it_is_used() -> None:
    codebook = Codebook(np.array([[-1.0, 0.0, 0.5], [0.0, 3.0, 900.0]], np.float32), channel_axis=1)
    weight = codebook.values(np.array([[0, 1], [2, 0], [1, 1]]))

    stored = as_int8(codebook, weight)

    assert stored is not None
    np.testing.assert_allclose(stored.numbers * stored.scale, weight, atol=1e-6)
