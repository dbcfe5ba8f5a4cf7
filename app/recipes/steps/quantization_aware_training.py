"""Parameters of quantization-aware training."""

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from app.errors import Complaint
from app.recipes.calibration import rounding_complaints
from app.recipes.steps.base import Given, LayerTransform, Need
from app.recipes.steps.recovery import Recovery


class QuantizationAwareTraining(LayerTransform, Recovery):
    """Train with the rounding of integers in the forward pass, so that integers lose little.

    The tflite file computes in those integers: weights on the grids and activations in the ranges
    of this training. The Keras model holds the de-quantized weights, and the ranges as fake
    quantization. Pruned zeros stay zero, and clustered weights stay in their clusters.
    """

    technique: Literal["quantization_aware_training"] = "quantization_aware_training"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.TRAINING_DATA, Need.LABELS})
    paper: ClassVar[str | None] = (
        "Jacob et al. 2018, arXiv:1712.05877; lsq: Esser et al. 2020, arXiv:1902.08153"
    )

    weight_bits: int = Field(
        8,
        ge=2,
        le=8,
        description="Bits of a weight; kernels lie on 2^bits - 1 values around 0. Fewer than 8 are "
        "stored as int8 with fewer different values, which compress well.",
    )
    activation_bits: Literal[8] = Field(
        8, description="Bits of an activation; what fast integer runtimes compute with."
    )
    granularity: Literal["per_channel", "per_tensor"] = Field(
        "per_channel", description="A scale for each output channel of a kernel, or one for all."
    )
    method: Literal["straight_through", "lsq"] = Field(
        "straight_through",
        description="Scales of weights: from the largest weight of each channel in every step, or "
        "learned by gradient (LSQ), which is better at few bits. Rounding has the gradient 1.",
    )
    ranges: Literal["moving_average", "learned"] = Field(
        "learned",
        description="Ranges of activations: learned by gradient from what some training rows "
        "need, or an average over batches of the smallest and largest value.",
    )
    batch_norm: Literal["fold", "keep"] = Field(
        "fold",
        description="Fold normalizations into the layer before them first; or train them further, "
        "and let the tflite file take them up in its scales.",
    )

    def training(self) -> Recovery:
        return self

    def complaints(self, given: Given) -> Iterator[Complaint]:
        if given.model.is_recurrent:
            yield Complaint(
                pointer="/technique",
                detail="recurrent layers have no integer form in TensorFlow Lite (the converter "
                "crashes); use weight_quantization, dynamic_range_quantization or "
                "float16_quantization",
            )
        yield from rounding_complaints(given)

    def given_after(self, given: Given) -> Given:
        return replace(given, rounded_by=self.technique)
