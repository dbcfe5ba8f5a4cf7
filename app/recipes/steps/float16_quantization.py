"""Parameters of float16 quantization: none."""

from typing import ClassVar, Literal

from app.recipes.facts import ModelFormat
from app.recipes.steps.base import Conversion


class Float16Quantization(Conversion):
    """Store weights as float16 and compute in float32: half the size, no speed-up on a CPU."""

    technique: Literal["float16_quantization"] = "float16_quantization"
    formats: ClassVar[frozenset[ModelFormat]] = frozenset(ModelFormat)
