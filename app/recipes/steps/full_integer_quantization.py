"""Parameters of full integer quantization."""

from collections.abc import Iterator
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from app.errors import Complaint
from app.recipes.calibration import (
    DATA_IN_WORDS,
    DEFAULT_PERCENTILE,
    METHODS_IN_WORDS,
    PERCENTILE_IN_WORDS,
    CalibrationData,
    CalibrationMethod,
    calibration_complaints,
    calibration_needs,
    calibration_warnings,
    percentile_without_effect,
    rounding_complaints,
    too_many_bits_of_entropy,
)
from app.recipes.facts import DatasetFacts, ModelFormat
from app.recipes.outputs import HOLDING_TFLITE, OutputKind
from app.recipes.steps.base import Conversion, Given, LayerPatterns, Need

# Of what the model may hold the ranges already.
RANGE_BITS = 8
CALIBRATING = ("calibration", "percentile")


class FullIntegerQuantization(Conversion):
    """Store and compute in integers: int8 weights per channel, int8 or int16 activations.

    Activation ranges are read from a sample of the training data (calibration), unless the model
    has them for 8 bits: from activation_quantization or quantization_aware_training. An `onnx`
    file holds int8 weights and 8-bit activations between QuantizeLinear and DequantizeLinear (QDQ).
    """

    technique: Literal["full_integer_quantization"] = "full_integer_quantization"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.CALIBRATION_DATA})
    formats: ClassVar[frozenset[ModelFormat]] = frozenset(ModelFormat)
    paper: ClassVar[str | None] = "Jacob et al. 2018, arXiv:1712.05877"

    activation_bits: Literal[8, 16] = Field(
        8, description="16 keeps more accuracy and is many times slower on a CPU."
    )
    io: Literal["float", "integer"] = Field(
        "float",
        description="Type of the file's inputs and outputs; integer ones need no float unit.",
    )
    calibration: CalibrationMethod = Field("min_max", description=METHODS_IN_WORDS)
    calibration_samples: int = Field(
        200, ge=1, le=100_000, description="Rows that ranges are read from."
    )
    calibration_data: CalibrationData = Field("training", description=DATA_IN_WORDS)
    percentile: float = Field(DEFAULT_PERCENTILE, gt=50, le=100, description=PERCENTILE_IN_WORDS)
    exclude: LayerPatterns = Field(
        default=(), description="Layers kept in float: patterns that match whole layer names."
    )

    @model_validator(mode="after")
    def _every_parameter_has_an_effect(self) -> Self:
        percentile_without_effect(self.calibration, self.percentile)
        too_many_bits_of_entropy(self.calibration, "activation_bits", self.activation_bits)
        return self

    def all_needs(self) -> frozenset[Need]:
        return calibration_needs(self.calibration_data)

    def writes(self) -> frozenset[OutputKind]:
        """ONNX has 8-bit activations only, at the opset that is written."""
        return HOLDING_TFLITE | ({"onnx"} if self.activation_bits == 8 else frozenset())

    def complaints(self, given: Given) -> Iterator[Complaint]:
        yield from calibration_complaints(given, self.calibration_data)
        yield from rounding_complaints(given)

    def warnings_of_ranges(self, given: Given) -> Iterator[str]:
        """That an earlier step's ranges leave what is asked for here little to do, or nothing."""
        idle = sorted(name for name in self.model_fields_set if name.startswith(CALIBRATING))
        if given.rounded_by and idle and self.activation_bits == RANGE_BITS:
            yield (
                f"full_integer_quantization keeps the 8-bit ranges of {given.rounded_by}; only "
                f"activations without one are calibrated as asked ({', '.join(idle)})."
            )

    def warnings(self, dataset: DatasetFacts | None) -> Iterator[str]:
        yield from calibration_warnings(dataset, self.calibration_data, self.calibration_samples)
