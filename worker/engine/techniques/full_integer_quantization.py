"""Full integer quantization: weights and activations as integers, ranges from training rows."""

from collections import Counter
from dataclasses import replace

from app.errors import StepFailed
from app.recipes.patterns import matches
from app.recipes.steps.full_integer_quantization import FullIntegerQuantization
from worker.engine.context import StepContext
from worker.engine.exporting.calibration import exported_rows
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
from worker.engine.quantizing.calibration.choosing import Choice
from worker.engine.quantizing.calibration.observing import observed
from worker.engine.quantizing.calibration.sample import Sample, sample_for
from worker.engine.quantizing.fake_quant import Range, Ranges
from worker.engine.quantizing.points import points_of

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

    Ranges that an earlier step put into the model are used in place of a calibration, which then
    gives the others only. Layers that scale the inputs (Normalization, Rescaling) stay float while
    inputs are float.
    Raises: StepFailed for recurrent models, whose calibration crashes the converter.
    """
    _refuse_recurrent(source)
    context.check_cancelled()
    if isinstance(source, KerasSource) and source.ranges:
        if step.activation_bits == RANGE_BITS and holds_int8_ranges(source):
            return _in_known_ranges(step, source, context)
        converted = _calibrated(step, source.without_ranges(), context)
        return replace(converted, warnings=(*converted.warnings, OTHER_RANGES))
    return _calibrated(step, source, context)


def _in_known_ranges(
    step: FullIntegerQuantization, source: KerasSource, context: StepContext
) -> Converted:
    """With the ranges of the model; what an earlier step left out gets its own from rows now."""
    plain = source.without_ranges()
    points = points_of(plain.model)
    known = {
        point.group: source.ranges[point.name] for point in points if point.name in source.ranges
    }
    is_left_out = any(
        point.group not in known and not any(matches(one, point.layer) for one in step.exclude)
        for point in points
    )
    if not is_left_out:
        converted = from_ranges(source.without_ranges_of(step.exclude), io=step.io)
        from_model = {"calibration": None, "ranges_of_the_model": len(source.ranges)}
        return replace(converted, facts={**from_model, **converted.facts})
    sample = sample_for(step, context)
    read = _ranges_at_points(step, plain, sample, context)
    all_ranges = {point.name: known.get(point.group, read[point.name]) for point in points}
    ranged = source.with_ranges({**all_ranges, **source.ranges}).without_ranges_of(step.exclude)
    converted = from_ranges(ranged, io=step.io)
    return replace(
        converted,
        facts={
            "calibration": step.calibration,
            **sample.facts,
            "ranges_of_the_model": len(source.ranges),
            **converted.facts,
        },
        warnings=(*sample.warnings, *converted.warnings),
    )


def _calibrated(step: FullIntegerQuantization, source: Source, context: StepContext) -> Converted:
    """With ranges that are read from rows now."""
    sample = sample_for(step, context)
    scaling = _scaling(source)
    context.check_cancelled()
    if isinstance(source, KerasSource) and _is_read_at_points(step, scaling):
        converted = _at_points(step, source, sample, context)
    else:
        converted = _in_the_file(step, source, sample, scaling)
    return replace(
        converted,
        facts={"calibration": step.calibration, **sample.facts, **converted.facts},
        warnings=(*sample.warnings, *_scaling_warnings(step, scaling), *converted.warnings),
    )


def _is_read_at_points(step: FullIntegerQuantization, scaling: tuple[Operator, ...]) -> bool:
    """Whether ranges go into the Keras model, from where the converter takes them over.

    It reads the smallest and largest values itself as well. With 16 bits it takes none over, and
    inputs that the model scales get integers only where it reads the ranges itself.
    """
    is_own = step.calibration == "min_max"
    is_scaled_in_integers = bool(scaling) and step.io == "integer"
    return not is_own and step.activation_bits == RANGE_BITS and not is_scaled_in_integers


def _at_points(
    step: FullIntegerQuantization, source: KerasSource, sample: Sample, context: StepContext
) -> Converted:
    """Ranges at the tensors that a runtime holds as integers, in the model before conversion."""
    ranges = _ranges_at_points(step, source, sample, context)
    ranged = source.with_ranges(ranges).without_ranges_of(step.exclude)
    return from_ranges(ranged, io=step.io)


def _ranges_at_points(
    step: FullIntegerQuantization, source: KerasSource, sample: Sample, context: StepContext
) -> Ranges:
    """By point of a model without ranges."""
    histograms = observed(source.model, sample.rows, context.check_cancelled)
    choice = Choice(step.calibration, step.percentile)
    return {
        point.name: Range(*choice.limits_of(histograms[point.group]))
        for point in points_of(source.model)
    }


def _in_the_file(
    step: FullIntegerQuantization, source: Source, sample: Sample, scaling: tuple[Operator, ...]
) -> Converted:
    """Ranges at the tensors of the file: by the converter, or by its quantizer with our ranges."""
    rows = exported_rows(source, sample.rows)
    excluded = _excluded(step, source)
    kept = excluded.operators + (scaling if step.io == "float" else ())
    content = _quantized(step, source, rows, kept)
    still_float = read_tflite(content).float_operators
    converted = Converted(
        content,
        _variant(step, still_float),
        facts={
            "operators_kept_float": len(kept),
            "float_operators": dict(Counter(operator.name for operator in still_float)),
        },
        warnings=_float_warnings(still_float, kept),
        skipped=excluded.not_found,
    )
    return on_their_levels(converted, source)


def _refuse_recurrent(source: Source) -> None:
    if isinstance(source, KerasSource):
        is_recurrent = source.is_recurrent
    else:
        is_recurrent = any(op.name in LOOPS for op in read_tflite(source.float32()).operators)
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
    """The converter quantizes a whole model, with the smallest and largest values it sees.

    Only the other quantizer leaves operators out and takes ranges from elsewhere.
    """
    bits, io = step.activation_bits, step.io
    is_own = step.calibration == "min_max"
    if isinstance(source, KerasSource) and not kept and is_own:
        folder = source.saved_model_for_tflite()
        return convert_full_integer(folder, rows, activation_bits=bits, io=io)
    choice = None if is_own else Choice(step.calibration, step.percentile, num_bits=bits)
    return quantize_full_integer(
        source.float32(), rows, activation_bits=bits, io=io, keep_float=kept, choice=choice
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
