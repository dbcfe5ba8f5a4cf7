"""Parameters of full integer quantization."""

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field

from app.errors import Complaint
from app.recipes.facts import DatasetFacts, ModelFormat
from app.recipes.outputs import HOLDING_TFLITE, OutputKind
from app.recipes.steps.base import Conversion, Given, LayerPatterns, Need


class FullIntegerQuantization(Conversion):
    """Store and compute in integers: int8 weights per channel, int8 or int16 activations.

    Activation ranges are read from a sample of the training data (calibration). An `onnx` file
    holds int8 weights and 8-bit activations between QuantizeLinear and DequantizeLinear (QDQ).
    """

    technique: Literal["full_integer_quantization"] = "full_integer_quantization"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.CALIBRATION_DATA})
    formats: ClassVar[frozenset[ModelFormat]] = frozenset(ModelFormat)
    paper: ClassVar[str | None] = "Jacob et al. 2018, arXiv:1712.05877"
    writes: ClassVar[frozenset[OutputKind]] = HOLDING_TFLITE | {"onnx"}

    activation_bits: Literal[8, 16] = Field(
        8, description="16 keeps more accuracy and is many times slower on a CPU."
    )
    io: Literal["float", "integer"] = Field(
        "float",
        description="Type of the file's inputs and outputs; integer ones need no float unit.",
    )
    calibration: Literal["min_max"] = Field(
        "min_max", description="How activation ranges are read from the sample."
    )
    calibration_samples: int = Field(
        200, ge=1, le=100_000, description="Training samples the ranges are read from."
    )
    exclude: LayerPatterns = Field(
        default=(), description="Layers kept in float: patterns that match whole layer names."
    )

    def complaints(self, given: Given) -> Iterator[Complaint]:
        if given.model.is_recurrent:
            yield Complaint(
                pointer="/technique",
                detail="recurrent layers cannot be calibrated for full integer quantization (the "
                "converter crashes); use dynamic_range_quantization or float16_quantization",
            )

    def warnings(self, dataset: DatasetFacts | None) -> Iterator[str]:
        if dataset and self.calibration_samples > dataset.train_rows:
            yield (
                f"calibration_samples is {self.calibration_samples}, but there are only "
                f"{dataset.train_rows} training rows: all of them are used."
            )
