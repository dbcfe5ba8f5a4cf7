"""Float tflite file -> quantized tflite file, where there is no Keras model or parts stay float."""

import re
import warnings
from collections.abc import Collection, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter

from app.errors import StepFailed
from worker.engine.exporting.tensor_histograms import tensor_histograms
from worker.engine.exporting.tflite import Rows
from worker.engine.foreign import first_line
from worker.engine.measuring.tflite_file import Operator, read_tflite
from worker.engine.quantizing.calibration.choosing import Choice
from worker.engine.quantizing.calibration.histogram import Histogram

WEIGHT_BITS = 8
EVERYTHING = ".*"
REFUSALS = (RuntimeError, ValueError, NotImplementedError)


def cast_to_float16(content: bytes) -> bytes:
    """Store weights as float16; they are widened when the file is loaded."""
    from litert_quantizer import qtyping

    quantizer = new_quantizer(content)
    quantizer.update_quantization_recipe(
        EVERYTHING,
        qtyping.TFLOperationName.ALL_SUPPORTED,
        op_config=qtyping.OpQuantizationConfig(
            weight_tensor_config=qtyping.TensorQuantizationConfig(
                num_bits=16, dtype=qtyping.TensorDataType.FLOAT
            ),
            compute_precision=qtyping.ComputePrecision.FLOAT,
            explicit_dequantize=True,
        ),
        algorithm_key="float_casting",
    )
    return _quantized(quantizer, None)


def quantize_dynamic_range(content: bytes) -> bytes:
    """Store weights as int8; activations are quantized while it runs."""
    from litert_quantizer import qtyping

    quantizer = new_quantizer(content)
    quantizer.add_dynamic_config(EVERYTHING, qtyping.TFLOperationName.ALL_SUPPORTED, WEIGHT_BITS)
    return _quantized(quantizer, None)


def quantize_full_integer(
    content: bytes,
    rows: Rows,
    *,
    activation_bits: Literal[8, 16],
    io: str,
    keep_float: Collection[Operator] = (),
    choice: Choice | None = None,
) -> bytes:
    """Quantize weights and activations; `keep_float` names operators of `content` left alone.

    `rows`: signature input name -> [n, ...], what activation ranges are read from. `choice` says
    how; null = the smallest and largest value of each tensor.
    """
    from litert_quantizer import qtyping

    names = qtyping.TFLOperationName
    quantizer = new_quantizer(content)
    quantizer.add_static_config(EVERYTHING, names.ALL_SUPPORTED, activation_bits, WEIGHT_BITS)
    if io == "float":
        for port in (names.INPUT, names.OUTPUT):
            quantizer.update_quantization_recipe(EVERYTHING, port, algorithm_key="no_quantize")
    for operator in keep_float:
        # The quantizer searches the names of all outputs joined, each followed by a semicolon.
        scope = "".join(f"{re.escape(tensor.name)};" for tensor in operator.outputs)
        quantizer.update_quantization_recipe(
            f"^{scope}$", names.ALL_SUPPORTED, algorithm_key="no_quantize"
        )
    with warnings.catch_warnings():
        # Its interpreters keep all tensors on purpose: their ranges are what is looked for.
        warnings.simplefilter("ignore")
        ranges = _ranges(content, quantizer, rows)
        if choice is not None:
            ranges = _chosen(
                ranges, tensor_histograms(content, _signature_key(content), rows), choice
            )
        return _quantized(quantizer, ranges)


def new_quantizer(content: bytes) -> Any:
    """LiteRT's quantizer for a float file.

    Raises: StepFailed for a file that is quantized: the quantizer would take it without a word.
    """
    # Imported where it is used: 0.6 s that most jobs do not need.
    from litert_quantizer import quantizer

    if read_tflite(content).is_quantized:
        raise StepFailed(
            "the tflite file is quantized already; quantizing it again would only add errors",
            hint="Upload the float file it was made from.",
        )
    return quantizer.Quantizer(content)


def _ranges(content: bytes, quantizer: Any, rows: Rows) -> dict[str, Any]:
    """Smallest and largest value of every tensor over all rows.

    The quantizer's own default is a moving average over rows, which cuts off what is rare.
    """
    from litert_quantizer import calibrator, recipe_manager
    from litert_quantizer.utils import qsv_utils

    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(quantizer.get_quantization_recipe())
    observer = calibrator.Calibrator(
        content, num_threads=1, qsv_update_func=qsv_utils.min_max_update
    )
    observer.calibrate({_signature_key(content): _one_by_one(rows)}, manager)
    ranges: dict[str, Any] = observer.get_model_qsvs()
    return ranges


def _chosen(
    ranges: dict[str, Any], histograms: Mapping[str, Histogram], choice: Choice
) -> dict[str, Any]:
    """The ranges with those of activations read from their histograms."""
    chosen = dict(ranges)
    for name, histogram in histograms.items():
        if {"min", "max"} <= ranges.get(name, {}).keys():
            low, high = choice.limits_of(histogram)
            own = ranges[name]
            ends = {"min": np.full_like(own["min"], low), "max": np.full_like(own["max"], high)}
            chosen[name] = {**own, **ends}
    return chosen


def _signature_key(content: bytes) -> str:
    keys: list[str] = list(Interpreter(model_content=content).get_signature_list())
    if not keys:
        raise StepFailed(
            "the tflite file has no signature, by which calibration feeds it",
            hint="Convert it with a current TensorFlow, which writes one, or use "
            "dynamic_range_quantization, which needs none.",
        )
    return keys[0]


def _one_by_one(rows: Rows) -> list[dict[str, npt.NDArray[np.generic]]]:
    count = len(next(iter(rows.values())))
    return [{name: array[i : i + 1] for name, array in rows.items()} for i in range(count)]


def written(content: bytes, parameters: dict[str, Any]) -> bytes:
    """The file changed as the quantizer's own parameters of each tensor say.

    Raises: StepFailed.
    """
    from litert_quantizer import model_modifier
    from litert_quantizer.utils import tfl_flatbuffer_utils

    try:
        modifier = model_modifier.ModelModifier(tfl_flatbuffer_utils.read_model(content))
        return bytes(modifier.modify_model(parameters, enable_progress_bar=False))
    except REFUSALS as error:
        raise _refused(error) from error


def _quantized(quantizer: Any, ranges: dict[str, Any] | None) -> bytes:
    try:
        return bytes(quantizer.quantize(ranges, enable_progress_report=False).quantized_model)
    except REFUSALS as error:
        raise _refused(error) from error


def _refused(error: Exception) -> StepFailed:
    return StepFailed(
        f"the tflite file could not be quantized: {first_line(error)}",
        hint="Another conversion may work for this model.",
    )
