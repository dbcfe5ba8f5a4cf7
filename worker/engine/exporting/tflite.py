"""Keras model -> tflite file, in every variant the converter can write."""

import re
import warnings
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.lite.python.convert_phase import ConverterError

from app.errors import StepFailed
from worker.engine.exporting.signature import SIGNATURE_KEY
from worker.engine.foreign import first_line, is_out_of_memory

# How the converter sums up what it has no built-in operator for, behind a page for each of them.
LACKING = re.compile(r"^(TF Select|Flex|Custom) ops: (?P<operators>\w+(, \w+)*)$", re.MULTILINE)
Rows = dict[str, npt.NDArray[np.generic]]


class Variant(StrEnum):
    """How a tflite file stores weights and activations."""

    FLOAT32 = "float32"
    # The same without the model's own rounding of activations, so it computes something else.
    FLOAT32_UNROUNDED = "float32_unrounded"
    FLOAT16 = "float16"
    DYNAMIC_RANGE = "dynamic_range"
    INT8 = "int8"
    INT16X8 = "int16x8"
    MIXED = "mixed"
    WEIGHT_ONLY_INT8 = "weight_only_int8"
    WEIGHT_ONLY_INT4 = "weight_only_int4"
    # The float32 model itself, with kernels as the whole numbers they stand for.
    INT8_LEVELS = "int8_levels"
    # The float32 model itself, with kernels as their non-zeros.
    SPARSE = "sparse"


def convert_float32(saved_model: Path) -> bytes:
    return _run(_converter(saved_model))


def convert_sparse(saved_model: Path) -> bytes:
    """Kernels with many zeros as their non-zeros and where these are.

    Nothing else is asked for: with DEFAULT beside it, the file does not load.
    """
    converter = _converter(saved_model)
    converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
    return _run(converter)


def convert_float16(saved_model: Path) -> bytes:
    converter = _converter(saved_model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    return _run(converter)


def convert_dynamic_range(saved_model: Path) -> bytes:
    converter = _converter(saved_model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return _run(converter)


def convert_known_ranges(saved_model: Path, *, io: str) -> bytes:
    """Quantize to int8 what has a range: behind fake quantization in the model, or by its kind."""
    converter = _converter(saved_model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if io == "integer":
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return _run(converter)


def convert_full_integer(
    saved_model: Path, rows: Rows, *, activation_bits: Literal[8, 16], io: str
) -> bytes:
    """Quantize weights and activations, with ranges read from `rows` (exported name -> [n, ...]).

    With 16-bit activations an operator that has no integer form stays float.
    """
    converter = _converter(saved_model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = _one_by_one(rows)
    if activation_bits == 8:
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    else:
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
            tf.lite.OpsSet.TFLITE_BUILTINS,
        ]
    if io == "integer":
        converter.inference_input_type = tf.int8 if activation_bits == 8 else tf.int16
        converter.inference_output_type = converter.inference_input_type
    return _run(converter)


def _converter(saved_model: Path) -> Any:
    return tf.lite.TFLiteConverter.from_saved_model(
        str(saved_model), signature_keys=[SIGNATURE_KEY]
    )


def _one_by_one(rows: Rows) -> Callable[[], Iterator[Rows]]:
    """The converter's representative data: a dict by input name, for a list fails with several."""
    count = len(next(iter(rows.values())))
    return lambda: ({name: array[i : i + 1] for name, array in rows.items()} for i in range(count))


def _run(converter: Any) -> bytes:
    try:
        with warnings.catch_warnings():
            # The converter announces the end of tf.lite.Interpreter, which is not used here.
            warnings.simplefilter("ignore")
            return bytes(converter.convert())
    except (ConverterError, RuntimeError, ValueError, tf.errors.OpError) as error:
        if is_out_of_memory(error):
            raise
        if lacking := LACKING.search(str(error)):
            raise StepFailed(
                f"TensorFlow Lite has nothing that computes {lacking['operators']} of this model",
                hint="Leave the layers that need it out of the model and do their part before or "
                "after it, or ask for outputs without tflite: 'keras' holds any layer.",
            ) from error
        raise StepFailed(
            f"TensorFlow Lite could not convert the model: {first_line(error)}",
            hint="Another conversion, or outputs without tflite, may work for this model.",
        ) from error
