"""Kernels stored as integers: those of levels exactly, all others rounded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from tests.builders import (
    context_for,
    conv_model,
    dense_model,
    embedding_model,
    outputs_of,
    randomized,
    recurrent_model,
    rows_for,
    step,
)
from worker.engine.exporting.source import Converted, KerasSource
from worker.engine.exporting.stored_levels import stored_levels
from worker.engine.exporting.weight_only import store_numbers
from worker.engine.measuring.tflite_file import read_tflite
from worker.engine.quantizing.levels import Grid, Levels
from worker.engine.surgery.weights import assign_weights, named_weights
from worker.engine.techniques import technique

TAG = "weight_only_quantization"


def on_levels(model: Any, num_bits: int, *, per_channel: bool) -> dict[str, Levels]:
    """Put every kernel on a grid whose scale is not the one that a quantizer would choose."""
    levels: dict[str, Levels] = {}
    values = {}
    for name, weight in named_weights(model).items():
        array = weight.numpy()
        if array.ndim < 2 or "bias" in name:
            continue
        axes = tuple(range(array.ndim - 1)) if per_channel else None
        scale = np.abs(array).max(axis=axes, keepdims=True) * 1.1 / (2 ** (num_bits - 1) - 1)
        block = (*array.shape[:-1], 1) if per_channel else array.shape
        grid = Grid(scale.astype(np.float32), np.zeros(scale.shape, np.int32), num_bits, block)
        values[name] = grid.values(np.rint(array / grid.scale).astype(np.int32))
        levels[name] = grid
    kept = {name: weight.numpy() for name, weight in named_weights(model).items()}
    assign_weights(model, {**kept, **values})
    return levels


def run(content: bytes, rows: Mapping[str, Any]) -> Any:
    runner = Interpreter(model_content=content).get_signature_runner()
    return next(iter(runner(**rows).values()))


def converted(
    model: Any, folder: Path, num_bits: int, levels: dict[str, Levels] | None = None
) -> Converted:
    source = KerasSource(model, folder / "source", {}, levels)
    return technique(TAG).convert(step(TAG, num_bits=num_bits), source, context_for(model, folder))


@pytest.mark.parametrize("per_channel", [False, True])
def test_levels_are_stored_as_their_numbers_and_change_no_output(
    tmp_path: Path, *, per_channel: bool
) -> None:
    model = randomized(dense_model())
    levels = on_levels(model, 4, per_channel=per_channel)
    source = KerasSource(model, tmp_path, {}, levels)
    known = stored_levels(model, levels, read_tflite(source.float32()), 8)
    content = store_numbers(source.float32(), known)
    kernel = np.asarray(model.get_layer("hidden").kernel)
    stored = {tensor.shape: tensor for tensor in read_tflite(content).weights}[kernel.T.shape]
    numbers = levels["hidden/kernel"].numbers(kernel)
    assert numbers is not None
    np.testing.assert_array_equal(stored.raw.view(np.int8).reshape(stored.shape), numbers.T)
    np.testing.assert_array_equal(stored.values, kernel.T)
    rows = rows_for(model, 1)
    np.testing.assert_allclose(run(content, rows), outputs_of(model, rows)[0], atol=1e-6)


def test_levels_are_found_where_the_converter_folded_a_normalization(tmp_path: Path) -> None:
    """Its factors, some of them negative, go into the scale of each channel."""
    model = randomized(conv_model())
    levels = on_levels(model, 4, per_channel=True)
    source = KerasSource(model, tmp_path, {}, levels)
    file = read_tflite(source.float32())
    known = stored_levels(model, levels, file, 8)
    assert sorted(one.numbers.shape for one in known.values()) == [(3, 4), (4, 3, 3, 1)]
    values = {tensor.name: tensor.values for tensor in file.weights}
    for name, one in known.items():
        along = [-1] + [1] * (one.numbers.ndim - 1)
        np.testing.assert_allclose(one.scale.reshape(along) * one.numbers, values[name], rtol=1e-6)


@pytest.mark.parametrize(("num_bits", "tolerance"), [(8, 0.05), (4, 0.6)])
def test_conversion_rounds_what_lies_on_no_levels(
    num_bits: int, tolerance: float, tmp_path: Path
) -> None:
    model = randomized(conv_model())
    done = converted(model, tmp_path, num_bits)
    rows = rows_for(model, 1)
    off = np.abs(run(done.content, rows) - outputs_of(model, rows)[0]).max()
    assert done.variant == f"weight_only_int{num_bits}"
    assert done.facts["quantized_kernels"] == 2
    assert done.facts["kernels_with_their_own_levels"] == 0
    assert 0 < off < tolerance


def test_conversion_to_4_bits_keeps_4_bit_levels_exactly(tmp_path: Path) -> None:
    model = randomized(dense_model())
    levels = on_levels(model, 4, per_channel=True)
    done = converted(model, tmp_path, 4, levels)
    rows = rows_for(model, 1)
    assert done.facts["kernels_with_their_own_levels"] == 2
    np.testing.assert_allclose(run(done.content, rows), outputs_of(model, rows)[0], atol=1e-6)


def test_conversion_works_on_recurrent_models(tmp_path: Path) -> None:
    model = randomized(recurrent_model())
    done = converted(model, tmp_path, 8)
    rows = rows_for(model, 1)
    assert done.facts["quantized_kernels"] == 5
    np.testing.assert_allclose(run(done.content, rows), outputs_of(model, rows)[0], atol=0.05)


def test_conversion_says_what_stays_float(tmp_path: Path) -> None:
    done = converted(randomized(embedding_model()), tmp_path, 8)
    assert (done.facts["quantized_kernels"], done.facts["float_kernels"]) == (1, 1)
