"""What int8 files make of activations: measured on files, not remembered."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from app.recipes.activations import INT8_OPERATORS
from tests.builders import context_for, conv_model, dense_model, recurrent_model
from worker.engine.exporting.int8_operators import int8_operators
from worker.engine.exporting.source import KerasSource
from worker.engine.exporting.tflite import convert_full_integer
from worker.engine.measuring.tflite_file import read_tflite


def chain_of(activations: list[str]) -> Any:
    """Convolutions, each with one of these, and one at the end without."""
    keras.utils.set_random_seed(3)
    convolutions = [keras.layers.Conv2D(2, 1, activation=name) for name in activations]
    return keras.Sequential(
        [keras.Input((4, 4, 2), name="x"), *convolutions, keras.layers.Conv2D(2, 1)]
    )


def test_operators_of_each_activation_are_those_of_the_table(tmp_path: Path) -> None:
    names = list(INT8_OPERATORS)
    source = KerasSource(chain_of(names), tmp_path, {})
    rows = {"x": np.random.default_rng(0).standard_normal((8, 4, 4, 2)).astype("float32")}

    content = convert_full_integer(
        source.saved_model_for_tflite(), rows, activation_bits=8, io="integer"
    )

    between: list[list[str]] = []
    for operator in read_tflite(content).operators:
        if operator.name == "CONV_2D":
            between.append([])
        else:
            between[-1].append(operator.name)
    assert dict(zip(names, map(tuple, between[:-1]), strict=True)) == INT8_OPERATORS


def test_float_islands_of_a_model_are_counted(tmp_path: Path) -> None:
    model = dense_model()
    soft = keras.Sequential(
        [
            keras.Input((4,), name="features"),
            keras.layers.Dense(8, activation="elu"),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    context = context_for(model, tmp_path)

    fused, island = int8_operators(model, context), int8_operators(soft, context)

    assert (fused.in_float, island.in_float) == ({}, {"ELU": 1})
    assert fused.total is not None
    assert island.total == fused.total + 3


def test_reason_is_told_when_there_is_no_int8_file(tmp_path: Path) -> None:
    recurrent = recurrent_model()
    without = replace(context_for(conv_model(), tmp_path), data=None)

    assert int8_operators(conv_model(), without).obstacle == "there are no rows to calibrate with"
    found = int8_operators(recurrent, context_for(recurrent, tmp_path))
    assert (found.total, found.obstacle) == (None, "recurrent layers cannot be calibrated")
