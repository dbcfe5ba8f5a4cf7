"""The spans that a recipe may take out of a model, and why the rest of its layers stays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import keras

from app.errors import LayerNotRemovable, StepFailed
from app.recipes.patterns import matches
from app.recipes.steps.layer_removal import LayerRemoval
from worker.engine.surgery.spans.bridges import Plan, plan_of
from worker.engine.surgery.spans.finding import Span, Spans, removable_spans
from worker.engine.surgery.weights import leaves
from worker.engine.surgery.wiring import Structure

SHOWN = 20


@dataclass(frozen=True)
class Candidates:
    """What may go. `plans` are those of the differing spans, by name; `paths` all leaf layers."""

    found: Spans
    plans: Mapping[str, Plan]
    paths: tuple[str, ...]

    @cached_property
    def spans(self) -> tuple[Span, ...]:
        """In the model's order."""
        places = {path: place for place, path in enumerate(self.paths)}
        return tuple(
            sorted(
                (*self.found.matching, *self.found.differing),
                key=lambda span: max(places[path] for path in span.weighted),
            )
        )

    @property
    def kept(self) -> Mapping[str, str]:
        """Path of each leaf layer with weights that stays -> the reason."""
        return self.found.kept

    def names(self) -> str:
        """For people."""
        names = [span.name for span in self.spans]
        if not names:
            return "none"
        more = f", ... ({len(names)} in all)" if len(names) > SHOWN else ""
        return ", ".join(names[:SHOWN]) + more


def candidates_of(step: LayerRemoval, model: keras.Model) -> Candidates:
    """The spans that the step may take out: matching ones, and if it says so those to bridge."""
    found = removable_spans(model)
    plans, kept = _plans(model, found) if step.bridge else ({}, dict(found.kept))
    able = (*found.matching, *(plan.span for plan in plans.values()))
    chosen = [span for span in able if step.takes([_last(path) for path in _named_by(span)])]
    for span in able:
        if span not in chosen:
            kept.update(dict.fromkeys(span.weighted, "not chosen by the recipe"))
    going = {path for span in chosen for path in span.weighted}
    names = {span.name for span in chosen}
    return Candidates(
        Spans(
            matching=tuple(span for span in chosen if span.is_matching),
            differing=tuple(span for span in chosen if not span.is_matching),
            kept={path: why for path, why in kept.items() if path not in going},
        ),
        plans={name: plan for name, plan in plans.items() if name in names},
        paths=tuple(leaf.name for leaf in leaves(model)),
    )


def named_spans(
    patterns: Sequence[str], model: keras.Model, candidates: Candidates
) -> tuple[Span, ...]:
    """The smallest spans with the layers that these patterns match, in the model's order.

    A pattern may match layers that stay, as long as it matches one that goes.
    Raises: StepFailed naming the first layer of a pattern that matches none, and the reason.
    """
    named: set[str] = set()
    inner = (path for span in candidates.spans for path in span.held)
    paths = tuple(dict.fromkeys((*candidates.paths, *inner)))
    for pattern in patterns:
        matched = [p for p in paths if matches(pattern, p) or matches(pattern, _last(p))]
        found = [span.name for path in matched if (span := candidates.found.holding(path))]
        if not found:
            raise _not_removable(pattern, matched, candidates)
        named.update(found)
    return tuple(span for span in candidates.spans if span.name in named)


def _not_removable(pattern: str, matched: Sequence[str], candidates: Candidates) -> StepFailed:
    hint = (
        f"Layers that can be removed, by their spans: {candidates.names()}. With `bridge` those "
        "that change shapes can go, too."
    )
    if not matched:
        return StepFailed(f"{pattern!r} matches no layer of the model as it is now", hint=hint)
    reason = candidates.kept.get(
        matched[0], "it lies in no span of layers with one entry and one exit that has weights"
    )
    return LayerNotRemovable(
        f"layer {matched[0]!r} cannot be removed: {reason}", hint=hint, layer=matched[0]
    )


def _plans(model: keras.Model, found: Spans) -> tuple[dict[str, Plan], dict[str, str]]:
    """How the differing spans are bridged, and why what is left of them stays."""
    operations = {level.path: level.operations for level in Structure.of(model).levels}
    plans: dict[str, Plan] = {}
    kept = dict(found.kept)
    for span in found.differing:
        plan = plan_of(span, operations[span.level][span.exit.layer])
        if isinstance(plan, Plan):
            plans[span.name] = plan
        else:
            kept.update({path: plan for path in span.weighted if path in kept})
    return plans, kept


def _named_by(span: Span) -> tuple[str, ...]:
    return (span.name, *span.held)


def _last(path: str) -> str:
    return path.rpartition("/")[2]
