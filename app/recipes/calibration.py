"""How ranges of activations are read from a sample, and what keeps that from working; pure."""

from collections.abc import Iterator
from typing import Literal

from app.errors import Complaint
from app.recipes.facts import DatasetFacts
from app.recipes.steps.base import Given, Need

CalibrationMethod = Literal["min_max", "moving_average", "percentile", "mse", "entropy"]
CalibrationData = Literal["training", "synthetic"]

DEFAULT_PERCENTILE = 99.99
# With more, a level stands for too few bins of a histogram: every range seems to tell everything.
MOST_BITS_OF_ENTROPY = 9
METHODS_IN_WORDS = (
    "How ranges are read from the sample: all that was seen (min_max), the mean of batches' "
    "extremes (moving_average), without the outermost values (percentile), with the least squared "
    "error of rounding and cutting off (mse), or with the least loss of information (entropy, "
    f"up to {MOST_BITS_OF_ENTROPY} bits)."
)
DATA_IN_WORDS = (
    "What ranges are read from: a sample of the training rows, or inputs made up so that "
    "BatchNormalization layers see the means and variances they were trained on (ZeroQ), which "
    "needs no data."
)
PERCENTILE_IN_WORDS = "percentile: share of values, in %, that neither end of a range cuts off."


def calibration_needs(data: CalibrationData) -> frozenset[Need]:
    return frozenset({Need.CALIBRATION_DATA}) if data == "training" else frozenset()


def percentile_without_effect(method: CalibrationMethod, percentile: float) -> None:
    """Raises: ValueError where a percentile is given that nothing reads."""
    if method != "percentile" and percentile != DEFAULT_PERCENTILE:
        raise ValueError(
            f"percentile has no effect where calibration is {method}; given {percentile:g}. Leave "
            "it out or choose calibration 'percentile'"
        )


def too_many_bits_of_entropy(method: CalibrationMethod, name: str, num_bits: int) -> None:
    """Raises: ValueError where entropy would keep the whole range, whatever the sample is."""
    if method == "entropy" and num_bits > MOST_BITS_OF_ENTROPY:
        raise ValueError(
            f"calibration entropy takes {name} up to {MOST_BITS_OF_ENTROPY}; given {num_bits}. "
            "With more levels no range loses information: choose calibration 'mse' or 'percentile'"
        )


def calibration_complaints(given: Given, data: CalibrationData) -> Iterator[Complaint]:
    """What of the model keeps its activations from being calibrated."""
    if given.model.is_recurrent:
        yield Complaint(
            pointer="/technique",
            detail="recurrent layers cannot be calibrated for integer activations (the converter "
            "crashes); use dynamic_range_quantization or float16_quantization",
        )
    if data == "synthetic":
        yield from _synthetic_complaints(given)


def rounding_complaints(given: Given) -> Iterator[Complaint]:
    """An earlier step rounds activations in a way that ranges cannot follow."""
    if given.rounding:
        yield Complaint(
            pointer="/technique",
            detail=f"the model's activations are rounded already ({given.rounding}, by "
            f"{given.rounded_by}), which no runtime executes and no range can take the place of. "
            "Leave one of the two steps out",
        )


def calibration_warnings(
    dataset: DatasetFacts | None, data: CalibrationData, samples: int
) -> Iterator[str]:
    """What calibration will do otherwise than its parameters say."""
    if data == "synthetic":
        yield (
            "Activation ranges will be read from synthetic inputs: no substitute for rows of the "
            "training data, where there are any."
        )
    elif dataset and samples > dataset.train_rows:
        yield (
            f"calibration_samples is {samples}, but there are only {dataset.train_rows} training "
            "rows: all of them are used."
        )


def _synthetic_complaints(given: Given) -> Iterator[Complaint]:
    """Of the uploaded model: that is the one whose statistics are matched."""
    pointer, model = "/calibration_data", given.baseline
    if not any(layer.class_name == "BatchNormalization" for layer in model.layers):
        yield Complaint(
            pointer=pointer,
            detail="synthetic inputs are matched to the statistics of BatchNormalization layers, "
            "and the model has none. Give a data set and use calibration_data 'training'",
        )
    for spec in model.inputs:
        if "float" not in spec.dtype:
            yield Complaint(
                pointer=pointer,
                detail=f"synthetic inputs are real numbers, and input {spec.name!r} takes "
                f"{spec.dtype}. Give a data set and use calibration_data 'training'",
            )
        elif spec.shape is not None and None in spec.shape and given.dataset is None:
            yield Complaint(
                pointer=pointer,
                detail=f"input {spec.name!r} leaves a length open, so nothing tells how long "
                "synthetic inputs are. Give a data set or a model with fixed input shapes",
            )
