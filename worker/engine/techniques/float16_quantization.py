"""Float16 quantization: weights stored in half the bits."""

from app.recipes.steps.float16_quantization import Float16Quantization
from worker.engine.context import StepContext
from worker.engine.exporting.requantize import cast_to_float16
from worker.engine.exporting.source import Converted, KerasSource, Source
from worker.engine.exporting.tflite import Variant, convert_float16


def convert(step: Float16Quantization, source: Source, context: StepContext) -> Converted:
    """A file whose weights are widened to float32 when it is loaded."""
    context.check_cancelled()
    if not isinstance(source, KerasSource):
        return Converted(cast_to_float16(source.float32()), Variant.FLOAT16)
    return Converted(
        convert_float16(source.without_ranges().saved_model_for_tflite()), Variant.FLOAT16
    )
