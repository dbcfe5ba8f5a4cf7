"""Parameters of weight quantization."""

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from app.recipes.facts import DatasetFacts, ModelFacts
from app.recipes.steps.base import LayerTransform, Need, Skip

# Parameters that nothing reads unless another one has this value.
_ONLY_WITH: Mapping[str, tuple[str, str]] = {
    "group_size": ("granularity", "per_group"),
    "percentile": ("range", "percentile"),
    "integer_scaling": ("rounding", "integer"),
}
# What says how a grid lies, where there is a choice.
_OF_SCALES = ("granularity", "range")
ONLY_PACKED = (
    "Weights that are {what} are held as integers in the packed file alone: those of tflite have "
    "{because}. A tflite file holds these values as floats, or rounds them anew where it is "
    "quantized."
)
_RECURRENT = frozenset({"LSTM", "GRU", "SimpleRNN", "RNN", "Bidirectional"})


class WeightQuantization(LayerTransform):
    """Put kernels and embedding tables on a grid of 2^num_bits values; no training.

    The model holds the de-quantized values, scale x (integer - zero_point); files that can hold the
    integers do. Biases stay float32. A training after it moves weights off the grid: train before,
    or use quantization_aware_training.
    """

    technique: Literal["weight_quantization"] = "weight_quantization"
    paper: ClassVar[str | None] = (
        "Grids: Jacob et al. 2018, arXiv:1712.05877; adaptive: Frantar et al. 2022, "
        "arXiv:2210.17323 (GPTQ), and Behdin et al. 2023, arXiv:2309.01885; equalization and bias "
        "correction: Nagel et al. 2019, arXiv:1906.04721"
    )

    num_bits: int = Field(8, ge=2, le=8, description="Bits of every quantized weight.")
    granularity: Literal["per_tensor", "per_channel", "per_group"] = Field(
        "per_channel",
        description="Which weights share a scale: the whole kernel, those of one output "
        "channel, or group_size neighbors among those.",
    )
    group_size: int = Field(
        32,
        ge=2,
        le=65_536,
        description="per_group: at most so many weights share a scale: neighboring inputs of one "
        "output, channels first, then places of the window. The last group may be smaller; one "
        "larger than all inputs is the channel.",
    )
    symmetric: bool = Field(
        True,
        description="Symmetric: zero_point 0, integers up to 2^(num_bits-1) - 1 on both sides. "
        "Affine (false): all 2^num_bits integers, with a zero_point that stands for exactly 0.",
    )
    rounding: Literal["nearest", "stochastic", "integer", "adaptive"] = Field(
        "nearest",
        description="To the nearest value; up or down by chance, right in the mean; the "
        "textbook's rounding to whole numbers (integer_scaling); or so that each layer's output "
        "stays as it is on training rows, weights making good for each other (adaptive).",
    )
    integer_scaling: Literal["better", "none", "range"] = Field(
        "better",
        description="integer: round the weights themselves (none), or after scaling them to the "
        "range of the integers (range). The report says what each costs; `better` keeps that with "
        "the higher score on validation rows, without labels that with the smaller error.",
    )
    range: Literal["min_max", "percentile", "mse"] = Field(
        "min_max",
        description="What the grid spans: all weights, a percentile of those that are not zero, or "
        "what leaves the smallest squared error. Weights beyond take its ends.",
    )
    percentile: float = Field(
        99.9,
        ge=50,
        lt=100,
        description="percentile: share of weights within the range, in percent.",
    )
    bias_correction: bool = Field(
        False,
        description="Move biases so that the mean output of each channel is what it was, on "
        "training rows.",
    )
    equalization: bool = Field(
        False,
        description="Before all else, scale channels against the next layer's so that both use "
        "their ranges alike; the function stays. Matters most per_tensor.",
    )
    calibration_samples: int = Field(
        1024,
        ge=1,
        le=100_000,
        description="adaptive and bias_correction: training rows that are looked at, fewer where "
        "memory has no room for what lies between the layers.",
    )

    @model_validator(mode="after")
    def _every_parameter_has_an_effect(self) -> Self:
        """Compared with the defaults, not with what was given: a stored step holds them all."""
        for name, (other, value) in _ONLY_WITH.items():
            if self._is_given(name) and getattr(self, other) != value:
                raise ValueError(
                    f"{name} has no effect where {other} is {getattr(self, other)}; given "
                    f"{getattr(self, name)}. Leave it out or set {other} to {value}"
                )
        for name in _OF_SCALES:
            if self._is_given(name) and self._is_without_scales:
                raise ValueError(
                    f"{name} has no effect where integer_scaling is none: the scale is 1; given "
                    f"{getattr(self, name)}. Leave it out or set integer_scaling to range or better"
                )
        if self._is_given("calibration_samples") and not self.looks_at_rows:
            raise ValueError(
                "calibration_samples has no effect without rounding 'adaptive' or "
                f"bias_correction; given {self.calibration_samples}. Leave it out"
            )
        return self

    def _is_given(self, name: str) -> bool:
        return bool(getattr(self, name) != type(self).model_fields[name].default)

    @property
    def _is_without_scales(self) -> bool:
        return self.rounding == "integer" and self.integer_scaling == "none"

    @property
    def looks_at_rows(self) -> bool:
        """Whether it needs rows of the training split; never their labels."""
        return self.rounding == "adaptive" or self.bias_correction

    def all_needs(self) -> frozenset[Need]:
        return frozenset({Need.CALIBRATION_DATA}) if self.looks_at_rows else frozenset()

    def skips(self, model: ModelFacts) -> Iterator[Skip]:
        if self.rounding == "adaptive":
            for layer in model.layers:
                if layer.class_name in _RECURRENT and self.selects(layer.name):
                    yield Skip(
                        layer.name,
                        "rounded to nearest: what each step of a recurrent layer is given cannot "
                        "be looked at",
                    )

    def warnings(self, dataset: DatasetFacts | None) -> Iterator[str]:
        if self.granularity == "per_group":
            yield ONLY_PACKED.format(what="scaled per group", because="one scale a channel at most")
        elif not self.symmetric and self.num_bits == 8:
            yield ONLY_PACKED.format(
                what="affine, of 8 bits", because="as many values below 0 as above"
            )
        elif self.num_bits < 8:
            yield (
                f"A tflite file has one byte for each weight of {self.num_bits} bits, and four "
                "where it is not quantized; the packed file has what their entropy asks for."
            )
        is_asked = self.looks_at_rows and self._is_given("calibration_samples")
        if is_asked and dataset and self.calibration_samples > dataset.train_rows:
            yield (
                f"calibration_samples is {self.calibration_samples}, but there are only "
                f"{dataset.train_rows} training rows: all of them are used."
            )
