"""Parameters of activation quantization."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, ClassVar, Literal, Self

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
from app.recipes.facts import DatasetFacts
from app.recipes.steps.base import Given, LayerTransform, Need

ActivationMapping = Literal["linear", "power_of_two", "mu_law", "codebook"]
DEFAULT_MU = 255.0
# A table of every value goes into the model; more exponents than float32 has are none.
MOST_BITS_IN_TABLES = 8
IN_TABLES = ("power_of_two", "codebook")
# What integer runtimes compute with.
RUNTIME_BITS = (8, 16)
# Of what the Keras model rounds with: runtimes load no more.
TFLITE_BITS = 8


class ActivationQuantization(LayerTransform):
    """Round what layers give to few values, evenly spaced ones or others.

    The Keras model that comes out rounds wherever an integer runtime would, so its accuracy is that
    of the rounded model; it loads in plain Keras. Even spacing with 8 bits is what integer runtimes
    compute with: full_integer_quantization takes these ranges. With activation_bits 16 it computes
    in 16 bits too, in ranges that it reads itself. The rest is simulated by the model alone; more
    than 8 bits leave the tflite file in float32, without the rounding.
    """

    technique: Literal["activation_quantization"] = "activation_quantization"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.CALIBRATION_DATA})
    paper: ClassVar[str | None] = (
        "linear: Jacob et al. 2018, arXiv:1712.05877; powers of two: Miyashita et al. 2016, "
        "arXiv:1603.01025; codebook: Lloyd 1982; entropy: Migacz 2017 (GTC); synthetic inputs: "
        "Cai et al. 2020, arXiv:2001.00281"
    )

    num_bits: Annotated[int, Field(ge=4, le=16)] = Field(
        8, description="Values have 2^num_bits levels; at most 8 for power_of_two and codebook."
    )
    mapping: ActivationMapping = Field(
        "linear",
        description="Levels evenly spaced; powers of two; evenly spaced on a logarithmic scale "
        "(mu_law); or chosen for the least squared error on the sample (codebook, Lloyd-Max).",
    )
    calibration: CalibrationMethod = Field("mse", description=METHODS_IN_WORDS)
    calibration_samples: int = Field(
        200, ge=1, le=100_000, description="Rows that ranges are read from."
    )
    calibration_data: CalibrationData = Field("training", description=DATA_IN_WORDS)
    percentile: float = Field(DEFAULT_PERCENTILE, gt=50, le=100, description=PERCENTILE_IN_WORDS)
    mu: float = Field(
        DEFAULT_MU, gt=0, le=1e6, description="mu_law: how much finer small values are told apart."
    )

    @model_validator(mode="after")
    def _every_parameter_has_an_effect(self) -> Self:
        percentile_without_effect(self.calibration, self.percentile)
        too_many_bits_of_entropy(self.calibration, "num_bits", self.num_bits)
        if self.mapping != "mu_law" and self.mu != DEFAULT_MU:
            raise ValueError(
                f"mu has no effect where mapping is {self.mapping}; given {self.mu:g}. Leave it "
                "out or choose mapping 'mu_law'"
            )
        if self.mapping in IN_TABLES and self.num_bits > MOST_BITS_IN_TABLES:
            raise ValueError(
                f"mapping {self.mapping} takes num_bits from 4 to {MOST_BITS_IN_TABLES}; given "
                f"{self.num_bits}"
            )
        return self

    def all_needs(self) -> frozenset[Need]:
        """Synthetic inputs need no data."""
        return calibration_needs(self.calibration_data)

    @property
    def is_executable(self) -> bool:
        """Whether an integer runtime can compute with these values."""
        return self.mapping == "linear" and self.num_bits in RUNTIME_BITS

    def complaints(self, given: Given) -> Iterator[Complaint]:
        yield from calibration_complaints(given, self.calibration_data)
        yield from rounding_complaints(given)

    def given_after(self, given: Given) -> Given:
        rounding = None if self.mapping == "linear" else self.mapping
        return replace(given, rounded_by=self.technique, rounding=rounding or given.rounding)

    def warnings(self, dataset: DatasetFacts | None) -> Iterator[str]:
        yield from calibration_warnings(dataset, self.calibration_data, self.calibration_samples)
        if not self.is_executable:
            yield self.simulated()
        elif self.num_bits > TFLITE_BITS:
            yield (
                "The tflite file will not hold these 16-bit ranges: without a conversion it is in "
                "float32 without the rounding, and full_integer_quantization with activation_bits "
                "16 reads ranges anew."
            )

    def simulated(self) -> str:
        """That no runtime computes with these values."""
        if self.mapping == "linear" and self.num_bits > TFLITE_BITS:
            return (
                f"No runtime executes {self.num_bits}-bit linear activations; the Keras model "
                "simulates them, and the tflite file leaves the rounding out."
            )
        return (
            f"No runtime executes {self.num_bits}-bit {self.mapping} activations; the Keras model "
            "simulates them: its files are not smaller and not faster for it."
        )
