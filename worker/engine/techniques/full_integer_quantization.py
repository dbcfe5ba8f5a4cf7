"""Full integer quantization: weights and activations as integers, ranges from training rows."""

from collections import Counter
from dataclasses import replace

from app.errors import StepFailed
from app.recipes.steps.full_integer_quantization import FullIntegerQuantization
from worker.engine.context import StepContext
from worker.engine.exporting.calibration import calibration_rows, calibration_warnings
from worker.engine.exporting.integers import (
    RANGE_BITS,
    from_ranges,
    holds_int8_ranges,
    on_their_levels,
)
from worker.engine.exporting.kept_float import (
    KeptFloat,
    operators_by_name,
    operators_of_layers,
    scaling_of_inputs,
)
from worker.engine.exporting.requantize import quantize_full_integer
from worker.engine.exporting.source import Converted, KerasSource, Source
from worker.engine.exporting.tflite import Rows, Variant, convert_full_integer
from worker.engine.measuring.calling import graph_of
from worker.engine.measuring.layers import leaf_layers
from worker.engine.measuring.tflite_file import Operator, read_tflite

SCALED_AS_INTEGERS = (
    "The model scales its inputs itself (Normalization or Rescaling). With integer inputs all "
    "features share one scale before that, so features with small ranges lose most of their "
    "values. io='float' keeps this part in float."
)
OTHER_RANGES = (
    "The activation ranges in the model are not those of 8 bits; they were read anew from training "
    "rows."
)
# Layers and Keras operations that may stand between the inputs and the first weights.
SCALING = frozenset(
    {"Normalization", "Rescaling", "Add", "Subtract", "Multiply", "Divide", "TrueDivide"}
)
LOOPS = frozenset(
    {
        "WHILE",
        "RNN",
        "LSTM",
        "UNIDIRECTIONAL_SEQUENCE_RNN",
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        "BIDIRECTIONAL_SEQUENCE_RNN",
        "BIDIRECTIONAL_SEQUENCE_LSTM",
    }
)


def convert(step: FullIntegerQuantization, source: Source, context: StepContext) -> Converted:
    """Quantize everything but what is to stay float, and read back what really became integers.

    Ranges that an earlier step put into the model are used in place of a calibration. Layers that
    scale the inputs (Normalization, Rescaling) stay float while inputs are float.
    Raises: StepFailed for recurrent models, whose calibration crashes the converter.
    """
    _refuse_recurrent(source)
    context.check_cancelled()
    if isinstance(source, KerasSource) and source.ranges:
        if step.activation_bits == RANGE_BITS and holds_int8_ranges(source):
            return from_ranges(source.without_ranges_of(step.exclude), io=step.io)
        converted = _calibrated(step, source.without_ranges(), context)
        return replace(converted, warnings=(*converted.warnings, OTHER_RANGES))
    return _calibrated(step, source, context)


def _calibrated(step: FullIntegerQuantization, source: Source, context: StepContext) -> Converted:
    rows = calibration_rows(source, context, step.calibration_samples)
    scaling = _scaling(source)
    excluded = _excluded(step, source)
    kept = excluded.operators + (scaling if step.io == "float" else ())
    context.check_cancelled()
    content = _quantized(step, source, rows, kept)
    still_float = read_tflite(content).float_operators
    count = len(next(iter(rows.values())))
    converted = Converted(
        content,
        _variant(step, still_float),
        facts={
            "calibration_samples": count,
            "operators_kept_float": len(kept),
            "float_operators": dict(Counter(operator.name for operator in still_float)),
        },
        warnings=(
            *calibration_warnings(count),
            *_scaling_warnings(step, scaling),
            *_float_warnings(still_float, kept),
        ),
        skipped=excluded.not_found,
    )
    return on_their_levels(converted, source)


def _refuse_recurrent(source: Source) -> None:
    if isinstance(source, KerasSource):
        is_recurrent = source.is_recurrent
    else:
        is_recurrent = any(op.name in LOOPS for op in read_tflite(source.content).operators)
    if is_recurrent:
        raise StepFailed(
            "full_integer_quantization cannot calibrate recurrent layers: the converter crashes "
            "on them",
            hint="Use dynamic_range_quantization or float16_quantization.",
        )


def _scaling(source: Source) -> tuple[Operator, ...]:
    """The operators that scale the inputs; the float file is converted only to look for some."""
    if isinstance(source, KerasSource) and not any(
        type(operation).__name__ in SCALING for operation in graph_of(source.model).operations
    ):
        return ()
    return scaling_of_inputs(read_tflite(source.float32()))


def _excluded(step: FullIntegerQuantization, source: Source) -> KeptFloat:
    if not step.exclude:
        return KeptFloat((), ())
    float_file = read_tflite(source.float32())
    if isinstance(source, KerasSource):
        return operators_of_layers(float_file, leaf_layers(source.model), step.exclude)
    return KeptFloat(operators_by_name(float_file, step.exclude), ())


def _quantized(
    step: FullIntegerQuantization, source: Source, rows: Rows, kept: tuple[Operator, ...]
) -> bytes:
    """The converter quantizes a whole model; only the other quantizer leaves operators out."""
    bits, io = step.activation_bits, step.io
    if isinstance(source, KerasSource) and not kept:
        folder = source.saved_model_for_tflite()
        return convert_full_integer(folder, rows, activation_bits=bits, io=io)
    return quantize_full_integer(
        source.float32(), rows, activation_bits=bits, io=io, keep_float=kept
    )


def _variant(step: FullIntegerQuantization, still_float: tuple[Operator, ...]) -> Variant:
    if still_float:
        return Variant.MIXED
    return Variant.INT8 if step.activation_bits == 8 else Variant.INT16X8


def _scaling_warnings(
    step: FullIntegerQuantization, scaling: tuple[Operator, ...]
) -> tuple[str, ...]:
    if not scaling or step.io == "float":
        return ()
    return (SCALED_AS_INTEGERS,)


def _float_warnings(
    still_float: tuple[Operator, ...], kept: tuple[Operator, ...]
) -> tuple[str, ...]:
    """What nobody asked to stay float, yet did."""
    unasked = Counter(operator.name for operator in still_float) - Counter(
        operator.name for operator in kept
    )
    if not unasked:
        return ()
    named = ", ".join(f"{count} x {name}" for name, count in sorted(unasked.items()))
    return (f"Not everything could be quantized; these operators compute in float: {named}.",)
