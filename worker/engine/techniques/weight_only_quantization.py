"""Weight-only quantization: kernels stored as integers, everything computed in float."""

from collections.abc import Iterator, Mapping, Sequence

from app.recipes.steps.weight_only_quantization import WeightOnlyQuantization
from worker.engine.context import StepContext
from worker.engine.exporting.source import Converted, KerasSource, Source
from worker.engine.exporting.stored_levels import StoredNumbers, stored_levels
from worker.engine.exporting.tflite import Variant
from worker.engine.exporting.weight_only import NOTHING, quantize_weights
from worker.engine.measuring.tflite_file import Tensor, read_tflite

# Smaller arrays are worth no words.
NOTABLE = 1024
NOTHING_QUANTIZED = (
    "No operator has a kernel that weight_only_quantization stores as integers; nothing was "
    "quantized."
)


def convert(step: WeightOnlyQuantization, source: Source, context: StepContext) -> Converted:
    """A file whose kernels are integers, read back to see which are.

    Kernels on at most `num_bits` evenly spaced values are stored as the numbers of these.
    """
    context.check_cancelled()
    if isinstance(source, KerasSource):
        source = source.without_ranges()
    content = source.float32()
    known = _known(step, source)
    context.check_cancelled()
    done = quantize_weights(content, step.num_bits, known)
    weights = list(read_tflite(done).weights)
    kernels = [tensor for tensor in weights if tensor.scale.size > 0]
    in_float = [tensor for tensor in weights if tensor.is_float and len(tensor.shape) > 1]
    return Converted(
        done,
        _variant(step) if kernels else Variant.FLOAT32,
        facts={
            "quantized_kernels": len(kernels),
            "kernels_with_their_own_levels": sum(tensor.name in known for tensor in kernels),
            "float_kernels": len(in_float),
        },
        warnings=tuple(_warnings(len(kernels), in_float)),
    )


def _warnings(count: int, in_float: Sequence[Tensor]) -> Iterator[str]:
    if not count:
        yield NOTHING_QUANTIZED
        return
    left = [tensor for tensor in in_float if tensor.size >= NOTABLE]
    if left:
        sizes = ", ".join(str(list(tensor.shape)) for tensor in left[:3])
        yield (
            f"{len(left)} large arrays stay float32, for their operators take no integer weights: "
            f"{sizes}. An embedding is one such."
        )


def _known(step: WeightOnlyQuantization, source: Source) -> Mapping[str, StoredNumbers]:
    if not isinstance(source, KerasSource) or not source.levels:
        return NOTHING
    return stored_levels(source.model, source.levels, read_tflite(source.float32()), step.num_bits)


def _variant(step: WeightOnlyQuantization) -> Variant:
    return Variant.WEIGHT_ONLY_INT8 if step.num_bits == 8 else Variant.WEIGHT_ONLY_INT4
