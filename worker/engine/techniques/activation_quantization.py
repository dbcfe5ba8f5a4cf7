"""Activation quantization: what layers give is rounded, wherever an integer runtime would."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from app.errors import StepFailed
from app.recipes.keras import config as keras_config
from app.recipes.steps.activation_quantization import ActivationQuantization
from app.reports.report import SkippedLayer
from worker.engine.context import StepContext, StepOutcome
from worker.engine.quantizing.calibration.choosing import Choice, signal_to_noise_db
from worker.engine.quantizing.calibration.histogram import Histogram
from worker.engine.quantizing.calibration.observing import observed
from worker.engine.quantizing.calibration.sample import sample_for
from worker.engine.quantizing.fake_quant import (
    Range,
    fixed_range,
    ranges_of,
    with_fake_quantization,
    with_roundings,
    without_fake_quantization,
)
from worker.engine.quantizing.mappings import Linear
from worker.engine.quantizing.mappings import Mapping as Rounding
from worker.engine.quantizing.points import Point, left_float, points_of
from worker.engine.surgery.cloning import clone_with_weights
from worker.engine.surgery.weights import leaves
from worker.engine.surgery.wiring import Structure

# Of one report; a large model has thousands.
MOST_NAMED = 200
# TensorFlow Lite's 16-bit activations have their zero in the middle.
SYMMETRIC_BITS = 16

FUSED_WITH_OTHERS = (
    "integer runtimes never hold what it gives by itself: they round behind the activation or "
    "normalization after it, or pass on what was rounded before it; name that layer"
)


def apply(step: ActivationQuantization, model: keras.Model, context: StepContext) -> StepOutcome:
    """The model with what chosen layers give rounded to few values.

    Ranges of an earlier step stay at points that this one leaves out.
    Raises: StepFailed for recurrent models, and where nothing can be calibrated; DataNotUsable.
    """
    context.check_cancelled()
    plain = without_fake_quantization(model)
    points = [point for point in _points(step, plain) if step.selects(point.layer)]
    if not points:
        context.report_progress(1.0, "no activations to quantize")
        return StepOutcome(
            model=clone_with_weights(model),
            masks=context.masks,
            lineage=context.lineage,
            facts={"points": 0},
            skipped=_without_points(step, plain),
            warnings=("No activation was quantized: no chosen layer is a place to round at.",),
        )
    _refuse_recurrent(model)
    sample = sample_for(step, context)
    histograms = observed(plain, sample.rows, context.check_cancelled)
    choice = Choice(step.calibration, step.percentile, step.mapping, step.num_bits, step.mu)
    by_group = {
        group: choice.mapping_of(histograms[group])
        for group in dict.fromkeys(point.group for point in points)
    }
    roundings = {point.name: _rounding(step, point, by_group[point.group]) for point in points}
    context.report_progress(1.0, f"{len(points)} activations quantized")
    return StepOutcome(
        model=_rounded(model, plain, roundings),
        masks=context.masks,
        lineage=context.lineage,
        facts={
            **sample.facts,
            **_facts(points, histograms, roundings),
            "executed_by": _runtime(step),
        },
        skipped=(*_without_points(step, plain), *_left_float(step, plain)),
        warnings=sample.warnings if step.is_executable else (*sample.warnings, step.simulated()),
    )


def _points(step: ActivationQuantization, model: keras.Model) -> Sequence[Point]:
    """Where to round. No layer reads what leaves the model; only runtimes make integers of it."""
    points = points_of(model)
    if step.mapping == "linear":
        return points
    outputs = Structure.of(model).levels[0].wiring.outputs
    return [point for point in points if point.level or point.ref not in outputs]


def _refuse_recurrent(model: keras.Model) -> None:
    if keras_config.is_recurrent(json.loads(model.to_json())):
        raise StepFailed(
            "activations of recurrent layers cannot be quantized: what goes round inside them has "
            "no range that a runtime would take",
            hint="Use dynamic_range_quantization or float16_quantization.",
        )


def _rounding(step: ActivationQuantization, point: Point, found: Rounding) -> Rounding:
    """As runtimes have it: some ranges are fixed, and with 16 bits all are alike on both sides."""
    if not isinstance(found, Linear):
        return found
    if point.limits is not None:
        fixed = fixed_range(point.limits, step.num_bits)
        return Linear(fixed.minimum, fixed.maximum, fixed.num_bits)
    if step.num_bits == SYMMETRIC_BITS:
        limit = max(-found.low, found.high)
        return Linear(-limit, limit, step.num_bits)
    return found


def _rounded(
    model: keras.Model, plain: keras.Model, roundings: Mapping[str, Rounding]
) -> keras.Model:
    linear = {
        name: Range(one.low, one.high, one.num_bits)
        for name, one in roundings.items()
        if isinstance(one, Linear)
    }
    earlier = ranges_of(model)
    if len(linear) == len(roundings):
        return with_fake_quantization(plain, {**earlier, **linear})
    return with_roundings(plain, {**earlier, **roundings})


def _facts(
    points: Sequence[Point],
    histograms: Mapping[str, Histogram],
    roundings: Mapping[str, Rounding],
) -> dict[str, Any]:
    named = {
        point.name: {
            "low": histograms[point.group].low,
            "high": histograms[point.group].high,
            **roundings[point.name].facts(),
            "signal_to_noise_db": signal_to_noise_db(
                histograms[point.group], roundings[point.name]
            ),
        }
        for point in points[:MOST_NAMED]
    }
    return {"points": len(points), "rounded": named}


def _without_points(step: ActivationQuantization, plain: keras.Model) -> tuple[SkippedLayer, ...]:
    """Layers that were named and have no place to round at."""
    if not step.include:
        return ()
    there = {point.layer for point in points_of(plain)}
    return tuple(
        SkippedLayer(layer=leaf.layer.name, reason=FUSED_WITH_OTHERS)
        for leaf in leaves(plain)
        if step.selects(leaf.layer.name) and leaf.layer.name not in there
    )


def _left_float(step: ActivationQuantization, plain: keras.Model) -> tuple[SkippedLayer, ...]:
    """What an integer runtime computes in float all the same."""
    if not step.is_executable:
        return ()
    return tuple(
        SkippedLayer(layer=found.layer, reason=f"an integer runtime keeps it float: {found.reason}")
        for found in left_float(plain)
        if step.selects(found.layer)
    )


def _runtime(step: ActivationQuantization) -> str | None:
    """What computes with these values; null where only the Keras model does."""
    if not step.is_executable:
        return None
    if step.num_bits == SYMMETRIC_BITS:
        return (
            "tflite, by full_integer_quantization with activation_bits 16, which reads its ranges "
            "from its own sample"
        )
    return "tflite"
