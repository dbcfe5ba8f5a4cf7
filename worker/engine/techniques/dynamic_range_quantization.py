"""Dynamic range quantization: int8 weights, activations quantized while the file runs."""

from app.recipes.steps.dynamic_range_quantization import DynamicRangeQuantization
from worker.engine.context import StepContext
from worker.engine.exporting.integers import on_their_levels
from worker.engine.exporting.requantize import quantize_dynamic_range
from worker.engine.exporting.source import Converted, KerasSource, Source
from worker.engine.exporting.tflite import Variant, convert_dynamic_range
from worker.engine.measuring.tflite_file import read_tflite

NOTHING_QUANTIZED = (
    "No kernel was large enough for dynamic_range_quantization (the converter leaves those under "
    "1024 weights as they are); nothing was quantized. full_integer_quantization and "
    "float16_quantization have no such limit."
)


def convert(step: DynamicRangeQuantization, source: Source, context: StepContext) -> Converted:
    """A file whose larger kernels are int8, read back to see whether there are any."""
    context.check_cancelled()
    if not isinstance(source, KerasSource):
        content = quantize_dynamic_range(source.float32())
    else:
        content = convert_dynamic_range(source.without_ranges().saved_model_for_tflite())
    kernels = [tensor for tensor in read_tflite(content).weights if tensor.scale.size > 0]
    converted = Converted(
        content,
        Variant.DYNAMIC_RANGE if kernels else Variant.FLOAT32,
        facts={"quantized_kernels": len(kernels)},
        warnings=() if kernels else (NOTHING_QUANTIZED,),
    )
    return on_their_levels(converted, source)
