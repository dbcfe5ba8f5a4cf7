"""Parameters of weight-only quantization."""

from typing import ClassVar, Literal

from pydantic import Field

from app.recipes.facts import ModelFormat
from app.recipes.steps.base import Conversion


class WeightOnlyQuantization(Conversion):
    """Store weights as integers, one scale a channel; everything is computed in float.

    8 bits are a quarter of the size at the speed of float32: the kernels are widened once, when the
    file is loaded. 4 bits are an eighth, lose much more and are slower on a CPU. Weights that an
    earlier step put on as few evenly spaced values keep these values exactly.
    """

    technique: Literal["weight_only_quantization"] = "weight_only_quantization"
    formats: ClassVar[frozenset[ModelFormat]] = frozenset(ModelFormat)

    num_bits: Literal[4, 8] = Field(8, description="Bits of each stored weight.")
