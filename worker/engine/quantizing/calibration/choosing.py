"""From histograms to what a model's tensors are rounded to."""

import math
from dataclasses import dataclass

import numpy as np

from app.recipes.calibration import DEFAULT_PERCENTILE, CalibrationMethod
from app.recipes.steps.activation_quantization import DEFAULT_MU, ActivationMapping
from worker.engine.quantizing.calibration.histogram import Histogram
from worker.engine.quantizing.calibration.lloyd_max import lloyd_max
from worker.engine.quantizing.calibration.ranges import (
    Limits,
    Rounding,
    least_divergence,
    least_squares,
    min_max,
    moving_average,
    percentile,
)
from worker.engine.quantizing.mappings import Lookup, Mapping, mapping_within


@dataclass(frozen=True)
class Choice:
    """How ranges are read, and what values become within them."""

    calibration: CalibrationMethod = "min_max"
    percentile: float = DEFAULT_PERCENTILE
    mapping: ActivationMapping = "linear"
    num_bits: int = 8
    mu: float = DEFAULT_MU

    def limits_of(self, histogram: Histogram) -> Limits:
        """The range of one tensor; a histogram without any value but zero has none to speak of."""
        if self.calibration == "moving_average":
            return moving_average(histogram)
        if self.calibration == "percentile":
            return percentile(histogram, self.percentile)
        is_zero = histogram.zeros == histogram.total
        # The levels of a codebook have the least squared error already, wherever they lie.
        is_least = self.calibration == "mse" and self.mapping == "codebook"
        if self.calibration == "min_max" or is_zero or is_least:
            return min_max(histogram)
        method = least_squares if self.calibration == "mse" else least_divergence
        return method(histogram, self._rounding_within)

    def mapping_of(self, histogram: Histogram) -> Mapping:
        """What the values of one tensor become."""
        limits = self.limits_of(histogram)
        if self.mapping == "codebook":
            return _codebook(histogram, limits, 2**self.num_bits)
        return mapping_within(self.mapping, limits, num_bits=self.num_bits, mu=self.mu)

    def _rounding_within(self, limits: Limits) -> Rounding:
        """Evenly spaced levels stand in for those of a codebook, which take long to find."""
        kind = "linear" if self.mapping == "codebook" else self.mapping
        return mapping_within(kind, limits, num_bits=self.num_bits, mu=self.mu).rounded


def signal_to_noise_db(histogram: Histogram, mapping: Mapping) -> float | None:
    """How far what rounding changes is below the values, in dB; null where nothing is changed."""
    values, counts = histogram.filled()
    noise = float(counts @ (mapping.rounded(values) - values) ** 2)
    signal = float(counts @ values**2)
    return 10 * math.log10(signal / noise) if noise and signal else None


def _codebook(histogram: Histogram, limits: Limits, number_of_levels: int) -> Mapping:
    """Lloyd-Max levels of what lies within the limits; what lies beyond counts at their ends."""
    values, counts = histogram.filled()
    if not len(values):
        return Lookup(np.zeros(1))
    inside = np.clip(values, *limits)
    places, where = np.unique(inside, return_inverse=True)
    return Lookup(lloyd_max(places, np.bincount(where, counts), number_of_levels))
