"""Parameters of dynamic range quantization: none."""

from typing import ClassVar, Literal

from app.recipes.facts import ModelFormat
from app.recipes.steps.base import Conversion


class DynamicRangeQuantization(Conversion):
    """Store weights as int8 and quantize activations on the fly; no calibration data needed.

    A quarter of the size; faster on fully-connected and plain convolutional nets, often slower on
    depthwise ones: the report says which.
    """

    technique: Literal["dynamic_range_quantization"] = "dynamic_range_quantization"
    formats: ClassVar[frozenset[ModelFormat]] = frozenset(ModelFormat)
