"""Files that many tests of the engine read, written once."""

from pathlib import Path

import pytest

from tests.builders import conv_model, randomized, recurrent_model, rows_for
from worker.engine.exporting.source import KerasSource
from worker.engine.exporting.tflite import (
    convert_dynamic_range,
    convert_float16,
    convert_full_integer,
)


@pytest.fixture(scope="session")
def conv_source(tmp_path_factory: pytest.TempPathFactory) -> KerasSource:
    """`conv_model` with random weights, ready for conversions."""
    return KerasSource(randomized(conv_model()), tmp_path_factory.mktemp("conv"), {})


@pytest.fixture(scope="session")
def conv_files(conv_source: KerasSource) -> dict[str, bytes]:
    """`conv_source` as a tflite file, by variant; int8 with integer inputs and outputs."""
    folder = conv_source.saved_model_for_tflite()
    rows = rows_for(conv_source.model, 100)
    return {
        "float32": conv_source.float32(),
        "float16": convert_float16(folder),
        "dynamic_range": convert_dynamic_range(folder),
        "int8": convert_full_integer(folder, rows, activation_bits=8, io="integer"),
        "int8_float_io": convert_full_integer(folder, rows, activation_bits=8, io="float"),
        "int16x8": convert_full_integer(folder, rows, activation_bits=16, io="float"),
    }


@pytest.fixture(scope="session")
def recurrent_source(tmp_path_factory: pytest.TempPathFactory) -> KerasSource:
    """`recurrent_model` with random weights, ready for conversions."""
    return KerasSource(randomized(recurrent_model()), tmp_path_factory.mktemp("recurrent"), {})


@pytest.fixture(scope="session")
def float_tflite(conv_files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`conv_files["float32"]` on disk."""
    path = tmp_path_factory.mktemp("tflite") / "conv.tflite"
    path.write_bytes(conv_files["float32"])
    return path
