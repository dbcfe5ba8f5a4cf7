"""Entropy-penalized training: weights become few whole numbers, which have short codes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from app.errors import StepFailed
from app.recipes.steps.entropy_penalized_training import EntropyPenalizedTraining
from worker.engine.context import Masks, ReportProgress, StepContext, StepOutcome
from worker.engine.rate.chosen import chosen, initial_steps
from worker.engine.rate.dead import without_dead_units
from worker.engine.rate.latents import Latent, Latents
from worker.engine.rate.likelihood import bit_in_loss
from worker.engine.rate.prices import code_length_bits
from worker.engine.surgery.channels.graph import channel_graph
from worker.engine.surgery.channels.removal import removed
from worker.engine.surgery.cloning import clone_with_weights
from worker.engine.surgery.lineage import Lineage
from worker.engine.surgery.weights import named_weights
from worker.engine.training.interventions import Interventions
from worker.engine.training.trainer import train
from worker.engine.training.zeros import HeldZeros

# Share of the optimizer steps over which the price of a bit grows.
RAMP_SHARE = 0.5
# Epochs are chosen among the last ones: before that the model has yet to become small.
CHOOSING_SHARE = 0.1
STEPS_BETWEEN_PRICES = 200


def apply(step: EntropyPenalizedTraining, model: keras.Model, context: StepContext) -> StepOutcome:
    """A trained copy whose coded weights are whole numbers times one step each.

    Raises: StepFailed if nothing can be coded; what `train` raises.
    """
    trained = clone_with_weights(model)
    coded, skipped = chosen(step, trained)
    if not coded:
        raise StepFailed(
            "no weight can be coded: "
            + ("; ".join(f"{skip.layer}: {skip.reason}" for skip in skipped) or "there is none"),
            hint="Change `include` and `exclude`, or set `trainable = True` on layers.",
        )
    rows = context.divided(step.validation_fraction)[0]
    steps = context.optimizer_steps(step)
    latents = Latents.of(coded, initial_steps(step, coded, context.levels), context.masks)
    pricing = Pricing(
        latents,
        bit_cost=step.rate_weight * bit_in_loss(trained, step, context, rows),
        ramp_steps=max(1, round(RAMP_SHARE * steps)),
    )
    history = train(
        trained,
        replace(context, report_progress=WithSize(context.report_progress, pricing)),
        step,
        Interventions(
            zeros=HeldZeros(trained, context.masks),
            after_step=pricing,
            counts_from=max(1, round((1 - CHOOSING_SHARE) * steps)),
            reparametrization=latents,
        ),
    )
    facts = {"ramp_steps": pricing.ramp_steps, **_facts(latents), **history.facts()}
    left = _alive(step, trained, context)
    shapes = {name: weight.shape for name, weight in named_weights(left.model).items()}
    return StepOutcome(
        model=left.model,
        masks=left.masks,
        lineage=left.lineage,
        levels={one.coded.name: one.grid(shapes[one.coded.name]) for one in latents.each},
        facts={**facts, "removed_units": dict(left.units)},
        skipped=skipped,
        warnings=(*history.warnings, *_emptied(latents)),
    )


@dataclass
class Pricing:
    """Called after every optimizer step: what a bit costs now, and what takes how many.

    bit_cost: at its full height, in units of the loss. `size_bytes` is what the numbers came to
    when prices were last taken from them.
    """

    latents: Latents
    bit_cost: float
    ramp_steps: int
    size_bytes: float | None = None

    def __call__(self, steps_done: int) -> None:
        if steps_done <= self.ramp_steps:
            self.latents.bit_cost.assign(self.bit_cost * ramp(steps_done, self.ramp_steps))
        if steps_done % STEPS_BETWEEN_PRICES == 0:
            self.size_bytes = self.latents.renew_prices() / 8


@dataclass(frozen=True)
class WithSize:
    """Tells of progress with the size that the weights have come to."""

    report: ReportProgress
    pricing: Pricing

    def __call__(self, fraction: float, message: str, **metrics: float) -> None:
        size = self.pricing.size_bytes
        if size is None:
            self.report(fraction, message, **metrics)
        else:
            told = f"{message}, weights of about {size:,.0f} bytes"
            self.report(fraction, told, **metrics, estimated_bytes=size)


@dataclass(frozen=True, eq=False)
class _Alive:
    """The model without its dead units, and how many each group of channels lost."""

    model: keras.Model
    masks: Masks
    lineage: Lineage
    units: Mapping[str, int]


def ramp(steps_done: int, ramp_steps: int) -> float:
    """(t / T)^3 up to 1: weights find their levels before they have to pay for them."""
    return min(1.0, steps_done / ramp_steps) ** 3


def _alive(step: EntropyPenalizedTraining, model: keras.Model, context: StepContext) -> _Alive:
    untouched = _Alive(model, context.masks, context.lineage, {})
    if not step.remove_dead_units or not getattr(model, "inputs", None):
        return untouched
    graph = channel_graph(model)
    keep = without_dead_units(model, graph)
    if not keep:
        return untouched
    smaller = removed(model, graph, keep, context.masks)
    lineage = context.lineage.narrowed(smaller.kept)
    units = {name: int((~kept).sum()) for name, kept in keep.items()}
    return _Alive(smaller.model, smaller.masks, lineage, units)


def _emptied(latents: Latents) -> Iterator[str]:
    """A warning where nothing is left of a kernel: no input comes through it any more."""
    emptied = [
        one.coded.name
        for one in latents.each
        if len(one.coded.shape) > 1 and not one.numbers().any()
    ]
    if emptied:
        more = f" and {len(emptied) - 3} more" if len(emptied) > 3 else ""
        yield (
            f"entropy_penalized_training left nothing but zeros of {', '.join(emptied[:3])}{more}: "
            "what leads through them has no effect on the outputs. Lower rate_weight, or "
            "smallest_step where the weights are smaller than it."
        )


def _facts(latents: Latents) -> dict[str, Any]:
    each = {one.coded.name: _facts_of(one) for one in latents.each}
    return {
        "estimated_bytes": sum(one["estimated_bytes"] for one in each.values()),
        "coded_weights": sum(one["weights"] for one in each.values()),
        "nonzero_weights": sum(one["nonzero_weights"] for one in each.values()),
        "coded": each,
    }


def _facts_of(one: Latent) -> dict[str, Any]:
    numbers = one.numbers()
    matrix = one.coded.matrix(numbers)
    not_zero = matrix != 0
    return {
        "weights": numbers.size,
        "nonzero_weights": int(not_zero.sum()),
        "levels": len(np.unique(numbers)),
        "step": float(one.step),
        "estimated_bytes": round(code_length_bits(matrix) / 8, 1),
        "empty_inputs": int((~not_zero.any(1)).sum()),
        "empty_outputs": int((~not_zero.any(0)).sum()),
    }
