"""Activation replacement: other activations in the hidden layers, then training."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras

from app.errors import StepFailed
from app.recipes.activations import SLOW_IN_INT8, int8_words
from app.recipes.steps.activation_replacement import ActivationReplacement
from app.reports.report import SkippedLayer
from worker.engine.context import StepContext, StepOutcome
from worker.engine.exporting.int8_operators import Int8Operators, int8_operators
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
    int8 = _int8(model, changed, context) if chosen else None
    recovered = recover(step, changed, masks, context)
    return StepOutcome(
        model=changed,
        masks=masks,
        lineage=context.lineage,
        accuracy_after_change=recovered.accuracy_after_change,
        facts={
            "replaced": {found.path: found.name for found in chosen},
            "int8": _int8_facts(step, chosen, int8),
            "parameters_dropped": sorted(named_weights(model).keys() - left.keys()),
            **recovered.facts,
        },
        skipped=tuple(
            SkippedLayer(layer=found.layer, reason=f"{found.name} stays: {found.obstacle}")
            for found in wanted
            if found.obstacle is not None
        ),
        warnings=(*recovered.warnings, *_warnings(step, chosen, int8)),
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


def _int8(
    before: keras.Model, after: keras.Model, context: StepContext
) -> tuple[Int8Operators, Int8Operators]:
    """What int8 files of both models consist of."""
    context.check_cancelled()
    ours = int8_operators(before, context)
    context.check_cancelled()
    return ours, int8_operators(after, context)


def _int8_facts(
    step: ActivationReplacement,
    chosen: Sequence[FoundActivation],
    int8: tuple[Int8Operators, Int8Operators] | None,
) -> dict[str, Any]:
    """How an int8 file computes each activation, and what it makes of both models."""
    names = sorted({found.name for found in chosen} | {step.target})
    before, after = int8 or (None, None)
    return {
        "computed": {name: int8_words(name) for name in names},
        "before": before.facts() if before else None,
        "after": after.facts() if after else None,
    }


def _warnings(
    step: ActivationReplacement,
    chosen: Sequence[FoundActivation],
    int8: tuple[Int8Operators, Int8Operators] | None,
) -> Iterator[str]:
    if not chosen:
        yield (
            "activation_replacement changed nothing: the model has no activation that may be "
            f"replaced and is not {step.target} already."
        )
    if chosen and step.target in SLOW_IN_INT8:
        yield (
            f"{step.target} has no fast integer kernel on x86: an int8 file with it is likely to "
            "be slower than float32 there. relu, relu6, hard_sigmoid and hard_tanh cost nothing."
        )
    if int8 and sum(int8[1].in_float.values()) > sum(int8[0].in_float.values()):
        named = ", ".join(f"{count} x {name}" for name, count in sorted(int8[1].in_float.items()))
        yield (
            f"With {step.target}, an int8 file of the model computes in float here: {named}. "
            "Another activation keeps it in integers."
        )
