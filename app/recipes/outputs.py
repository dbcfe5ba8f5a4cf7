"""Kinds of files a job can be asked for."""

from typing import Literal, get_args

OutputKind = Literal["keras", "tflite", "saved_model", "onnx", "c_array", "packed"]
OUTPUT_KINDS: tuple[OutputKind, ...] = get_args(OutputKind)

# Kinds that hold a tflite file's content: what a conversion gives them, they offer.
HOLDING_TFLITE: frozenset[OutputKind] = frozenset({"tflite", "c_array"})

OUTPUTS_DESCRIPTION = (
    "Files to make. `tflite`, and `c_array` (a zip with the same content as C++ source for "
    "microcontrollers), hold what a conversion of the recipe gives; `onnx` holds int8 (QDQ) after "
    "full_integer_quantization; all others are float32. `packed` is a `.keras` file in few bytes, "
    "for `penjing unpack`. Each is reloaded, run and compared before "
    "it is offered. Baseline and result are compared as the first of tflite, onnx, saved_model, "
    "keras, c_array, packed that was asked for."
)
