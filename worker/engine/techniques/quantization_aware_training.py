"""Quantization-aware training: learn with the rounding that integers bring."""

import keras

from app.recipes.steps.quantization_aware_training import QuantizationAwareTraining
from app.reports.report import SkippedLayer
from worker.engine.context import StepContext, StepOutcome
from worker.engine.quantizing.awareness import Plan, Weights
from worker.engine.quantizing.fake_quant import with_fake_quantization, without_fake_quantization
from worker.engine.quantizing.levels import Codebook
from worker.engine.quantizing.ranged import with_layers_at
from worker.engine.surgery.cloning import clone_with_weights
from worker.engine.surgery.weights import named_weights
from worker.engine.techniques.batch_norm_folding import Fold, folded, plan
from worker.engine.training.interventions import Interventions
from worker.engine.training.trainer import train
from worker.engine.training.zeros import HeldZeros

CLUSTERED = "folding it would part the values that the clustered weights before it share"
NOT_CHOSEN = "the layer before it is not chosen by the recipe"


def apply(step: QuantizationAwareTraining, model: keras.Model, context: StepContext) -> StepOutcome:
    """A trained copy on integers: weights on grids, ranges of activations as fake quantization."""
    start = _folded(step, without_fake_quantization(model), context)
    planned = Plan.of(step, start.model, context)
    ranges = planned.range_layers(step, context)
    trained = with_layers_at(planned.model, ranges)
    weights = Weights.of(step, trained, planned, context)
    interventions = Interventions(
        zeros=HeldZeros(trained, weights.masks_of_others), reparametrization=weights.together
    )
    history = train(trained, context, step, interventions)
    values = {name: one.numpy() for name, one in named_weights(trained).items()}
    learned = {name: values[name] for name in named_weights(planned.model)}
    found = {**planned.fixed, **{name: layer.found() for name, layer in ranges.items()}}
    return StepOutcome(
        model=with_fake_quantization(clone_with_weights(planned.model, learned), found),
        masks=start.masks,
        lineage=start.lineage,
        levels=weights.levels(),
        accuracy_after_change=history.score_before,
        facts={**history.facts(), **start.facts, **planned.facts(found), **weights.facts()},
        skipped=(*start.skipped, *planned.skipped),
        warnings=(*history.warnings, *weights.warnings()),
    )


def _folded(
    step: QuantizationAwareTraining, model: keras.Model, context: StepContext
) -> StepOutcome:
    """The model with its normalizations folded, where the step says so."""
    if step.batch_norm == "keep":
        return StepOutcome(model=model, masks=context.masks, lineage=context.lineage)
    clustered = {name for name, one in context.levels.items() if isinstance(one, Codebook)}
    found: list[Fold | SkippedLayer] = []
    for item in plan(model, _any):
        reason = _obstacle(step, item, clustered) if isinstance(item, Fold) else None
        if isinstance(item, Fold) and reason:
            found.append(SkippedLayer(layer=item.norm.layer.name, reason=reason))
        else:
            found.append(item)
    return folded(model, found, context)


def _any(name: str) -> bool:
    """Whether a normalization is folded is decided by the layer before it."""
    return True


def _obstacle(step: QuantizationAwareTraining, fold: Fold, clustered: set[str]) -> str | None:
    if not step.selects(fold.producer.layer.name):
        return NOT_CHOSEN
    return CLUSTERED if clustered & fold.producer.weights().keys() else None
