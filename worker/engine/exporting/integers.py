"""Tflite files with integers that are known already: ranges in the model, levels of its weights."""

from collections import Counter
from dataclasses import replace

from worker.engine.exporting.kept_float import scaling_of_inputs
from worker.engine.exporting.level_storage import with_stored_levels
from worker.engine.exporting.source import Converted, KerasSource, Source
from worker.engine.exporting.tflite import Variant, convert_known_ranges
from worker.engine.measuring.tflite_file import read_tflite

RANGE_BITS = 8
STILL_FLOAT = "Not everything has a range; these operators compute in float: {operators}."
UNROUNDED = (
    "The tflite file is in float32 and leaves the rounding of activations out: no runtime loads "
    "one with more than 8 bits. full_integer_quantization with activation_bits 16 makes a file in "
    "integers, with ranges it reads itself."
)
LOST = (
    "int8 with one scale a channel cannot express the values that {names} were put on, or not the "
    "biases beside them; there the converter rounded anew."
)


def default_tflite(source: Source) -> Converted:
    """The tflite file of a recipe without a conversion: integers where the model has their ranges.

    Raises: ExportFailed or StepFailed with the reason.
    """
    if isinstance(source, KerasSource) and holds_int8_ranges(source):
        return from_ranges(source, io="float")
    return in_float32(source)


def in_float32(source: Source) -> Converted:
    """The float file; of a model whose ranges no runtime loads, one without these."""
    if isinstance(source, KerasSource) and source.has_wide_ranges:
        content = source.float32()
        return Converted(content, Variant.FLOAT32_UNROUNDED, warnings=(UNROUNDED,))
    return Converted(source.float32(), Variant.FLOAT32)


def holds_int8_ranges(source: KerasSource) -> bool:
    """Whether the model was trained or calibrated for integers that runtimes compute with."""
    bits = {found.num_bits for found in source.ranges.values()}
    return bits == {RANGE_BITS}


def from_ranges(source: KerasSource, *, io: str) -> Converted:
    """Integers with the ranges of the model's fake quantization and the levels of its weights."""
    content = convert_known_ranges(source.saved_model_for_tflite(), io=io)
    file = read_tflite(content)
    still_float = Counter(operator.name for operator in file.float_operators)
    # What scales float inputs is meant to stay float.
    unasked = still_float - Counter(operator.name for operator in scaling_of_inputs(file))
    named = ", ".join(f"{count} x {name}" for name, count in sorted(unasked.items()))
    converted = Converted(
        content,
        Variant.MIXED if still_float else Variant.INT8,
        facts={"ranges": len(source.ranges), "float_operators": dict(still_float)},
        warnings=(STILL_FLOAT.format(operators=named),) if unasked else (),
    )
    return on_their_levels(converted, source)


def on_their_levels(converted: Converted, source: Source) -> Converted:
    """The same with the integers of weights that steps put on few values."""
    if not isinstance(source, KerasSource) or not source.levels:
        return converted
    kept = with_stored_levels(converted.content, source.model, source.levels)
    lost = (LOST.format(names=", ".join(kept.lost)),) if kept.lost else ()
    return replace(
        converted,
        content=kept.content,
        facts={**converted.facts, "weights_on_their_levels": len(kept.stored)},
        warnings=(*converted.warnings, *lost),
    )
