"""Activation replacement: other activations in the hidden layers, then training."""

from collections.abc import Sequence
from typing import Any

import keras

from app.errors import StepFailed
from app.recipes.activations import int8_words
from app.recipes.steps.activation_replacement import ActivationReplacement
from app.reports.report import SkippedLayer
from worker.engine.context import StepContext, StepOutcome
from worker.engine.exporting.int8_operators import int8_operators
from worker.engine.surgery.activations import FoundActivation, activations, with_activations
from worker.engine.surgery.weights import named_weights
from worker.engine.training.recovery import recover


def apply(step: ActivationReplacement, model: keras.Model, context: StepContext) -> StepOutcome:
    """The model with other activations, trained if the step says so.

    Raises: StepFailed where `from` names activations that no hidden layer has.
    """
    wanted = _wanted(step, model)
    chosen = [found for found in wanted if found.obstacle is None]
    context.check_cancelled()
    changed = with_activations(model, {found.path: step.target for found in chosen})
    left = named_weights(changed)
    masks = {name: mask for name, mask in context.masks.items() if name in left}
    context.report_progress(0.0, f"{len(chosen)} activations replaced by {step.target}")
    friendliness = _int8_facts(step, chosen, (model, changed), context)
    recovered = recover(step, changed, masks, context)
    return StepOutcome(
        model=changed,
        masks=masks,
        accuracy_after_change=recovered.accuracy_after_change,
        facts={
            "replaced": {found.path: found.name for found in chosen},
            "int8": friendliness,
            "parameters_dropped": sorted(named_weights(model).keys() - left.keys()),
            **recovered.facts,
        },
        skipped=tuple(
            SkippedLayer(layer=found.layer, reason=f"{found.name} stays: {found.obstacle}")
            for found in wanted
            if found.obstacle is not None
        ),
    )


def _wanted(step: ActivationReplacement, model: keras.Model) -> list[FoundActivation]:
    """What the step names and is not yet what it is to be; some of it may have to stay."""
    found = activations(model)
    wanted = [
        one
        for one in found
        if step.selects(one.layer)
        and one.name != step.target
        and (step.sources is None or one.name in step.sources)
    ]
    if step.sources is not None and all(one.obstacle for one in wanted):
        named = " or ".join(sorted(step.sources))
        raise StepFailed(
            f"no chosen hidden layer has the activation {named}. There are: {_listed(found)}",
            hint="Change `from`, `include` or `exclude`; the activation of an output stays.",
        )
    return wanted


def _listed(found: Sequence[FoundActivation], limit: int = 20) -> str:
    shown = [
        f"{one.name} ({one.layer}{f': {one.obstacle}' if one.obstacle else ''})"
        for one in found[:limit]
    ]
    more = f", ... ({len(found)} in all)" if len(found) > limit else ""
    return (", ".join(shown) or "none") + more


def _int8_facts(
    step: ActivationReplacement,
    chosen: Sequence[FoundActivation],
    models: tuple[keras.Model, keras.Model],
    context: StepContext,
) -> dict[str, Any]:
    """What an int8 file makes of the activations, and of the model before and after."""
    before, after = models
    names = sorted({found.name for found in chosen} | {step.target})
    facts: dict[str, Any] = {"computed": {name: int8_words(name) for name in names}}
    if chosen:
        context.check_cancelled()
        facts["before"] = int8_operators(before, context).facts()
        context.check_cancelled()
        facts["after"] = int8_operators(after, context).facts()
    return facts
