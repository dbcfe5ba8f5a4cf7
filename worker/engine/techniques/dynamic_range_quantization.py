"""Dynamic range quantization: int8 weights, activations quantized while the file runs."""

from app.recipes.steps.dynamic_range_quantization import DynamicRangeQuantization
from worker.engine.context import StepContext
from worker.engine.exporting.requantize import quantize_dynamic_range
from worker.engine.exporting.source import Converted, Source, TfliteSource
from worker.engine.exporting.tflite import Variant, convert_dynamic_range


def convert(step: DynamicRangeQuantization, source: Source, context: StepContext) -> Converted:
    """A file whose larger kernels are int8; the converter leaves those under 1024 weights float."""
    context.check_cancelled()
    if isinstance(source, TfliteSource):
        return Converted(quantize_dynamic_range(source.content), Variant.DYNAMIC_RANGE)
    content = convert_dynamic_range(source.saved_model_for_tflite())
    return Converted(content, Variant.DYNAMIC_RANGE)
