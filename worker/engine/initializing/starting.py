"""A model that starts again: chosen layers with new weights, drawn or taken."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from app.errors import StepFailed
from app.recipes.steps.initialization import InitialWeights, Scheme
from app.reports.report import SkippedLayer
from worker.engine.context import StepContext
from worker.engine.initializing.drawing import held, new_weights, reason_to_stay
from worker.engine.initializing.rewinding import rewound_weights
from worker.engine.initializing.taking import Taken, take_weights
from worker.engine.surgery.cloning import clone_with_weights
from worker.engine.surgery.weights import Leaf


@dataclass(frozen=True)
class Start:
    """A model before its training, and how it came by its weights."""

    scheme: Scheme
    model: keras.Model
    facts: dict[str, Any] = field(default_factory=dict)
    skipped: tuple[SkippedLayer, ...] = ()


def started(
    model: keras.Model,
    chosen: Sequence[Leaf],
    weights: InitialWeights,
    scheme: Scheme,
    source: keras.Model | None,
    context: StepContext,
) -> Start:
    """A copy of `model` with new weights in the chosen layers; what is masked stays zero.

    Raises: StepFailed if no layer gets any.
    """
    if scheme == "pretrained":
        return _taken(model, chosen, source, context)
    reasons = {leaf: reason_to_stay(leaf.layer) for leaf in chosen if leaf.layer.weights}
    renewed = [leaf for leaf, reason in reasons.items() if reason is None]
    skipped = tuple(
        SkippedLayer(layer=leaf.layer.name, reason=reason)
        for leaf, reason in reasons.items()
        if reason
    )
    if not renewed:
        raise StepFailed(
            "no layer starts again: " + _listed(skipped), hint="Change `include` and `exclude`."
        )
    values = new_weights(model, renewed, weights, scheme=scheme, seed=context.seed)
    facts = {"scheme": scheme, "started_layers": [leaf.name for leaf in renewed]}
    copy = clone_with_weights(model, held(values, context.masks))
    return Start(scheme, copy, facts, skipped)


def _taken(
    model: keras.Model,
    chosen: Sequence[Leaf],
    source: keras.Model | None,
    context: StepContext,
) -> Start:
    if source is None:
        raise StepFailed(
            "`pretrained` has no model to take weights from", hint="Give source_model_id."
        )
    taken = _weights_from(source, model, chosen, context)
    skipped = tuple(
        SkippedLayer(layer=path.rpartition("/")[2], reason=reason)
        for path, reason in taken.left.items()
    )
    if not taken.values:
        raise StepFailed(
            "no layer can take weights: " + _listed(skipped),
            hint="Choose other layers, or another model in source_model_id: its layers are paired "
            "by name, else by order, kind and shape.",
        )
    copy = clone_with_weights(model, held(taken.values, context.masks))
    return Start("pretrained", copy, {"scheme": "pretrained", **taken.facts()}, skipped)


def _weights_from(
    source: keras.Model, model: keras.Model, chosen: Sequence[Leaf], context: StepContext
) -> Taken:
    """Of the uploaded model what is left of it here; of any other what fits best."""
    if source is context.baseline and context.lineage.descends:
        return rewound_weights(source, chosen, context.lineage)
    return take_weights(model, source, chosen)


def _listed(skipped: Sequence[SkippedLayer]) -> str:
    return "; ".join(f"{skip.layer}: {skip.reason}" for skip in skipped) or "none is chosen"
