"""What every step of a recipe has: a tag, parameters with ranges, and what it needs to run."""

import re
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Need(StrEnum):
    """What a step cannot do without."""

    TRAINING_DATA = "training_data"
    LABELS = "labels"
    CALIBRATION_DATA = "calibration_data"


class ModelFormat(StrEnum):
    """Formats a model may be uploaded in."""

    KERAS = "keras"
    H5 = "h5"
    TFLITE = "tflite"


KERAS_FORMATS = frozenset({ModelFormat.KERAS, ModelFormat.H5})


def _compilable(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return pattern


LayerPattern = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_compilable)]
LayerPatterns = Annotated[tuple[LayerPattern, ...], Field(max_length=64)]
Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]


class Step(BaseModel):
    """One technique with its parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    technique: str
    needs: ClassVar[frozenset[Need]] = frozenset()
    formats: ClassVar[frozenset[ModelFormat]] = KERAS_FORMATS
    paper: ClassVar[str | None] = None

    def all_needs(self) -> frozenset[Need]:
        """What this step needs as it is parametrized: at least the technique's own `needs`."""
        return self.needs


class Transform(Step):
    """A step from a Keras model to a Keras model."""


class LayerTransform(Transform):
    """A transform of chosen layers; a pattern must match a whole layer name."""

    include: LayerPatterns = Field(
        default=(), description="Only layers whose whole name matches one of these; empty = all."
    )
    exclude: LayerPatterns = Field(
        default=(), description="Never layers whose whole name matches one of these."
    )

    def selects(self, layer_name: str) -> bool:
        included = not self.include or any(re.fullmatch(p, layer_name) for p in self.include)
        return included and not any(re.fullmatch(p, layer_name) for p in self.exclude)


class Conversion(Step):
    """A step from a model to the content of a tflite file; it ends a recipe."""
