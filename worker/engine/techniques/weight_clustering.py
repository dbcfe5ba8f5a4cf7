"""Weight clustering: the weights of a kernel take a few shared values, which are then trained."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from app.errors import StepFailed
from app.recipes.steps.weight_clustering import WeightClustering
from app.reports.report import SkippedLayer
from worker.engine.clustering.books import Usage, tidied, usage_of
from worker.engine.clustering.shared_weights import FixedWeights, SharedWeights
from worker.engine.clustering.sharing import Sharing
from worker.engine.clustering.targets import NoTarget, Target, obstacle, targets, too_small
from worker.engine.context import Masks, StepContext, StepOutcome
from worker.engine.quantizing.levels import Codebook
from worker.engine.surgery.cloning import clone_with_weights
from worker.engine.training.interventions import Interventions
from worker.engine.training.recovery import Recovered
from worker.engine.training.trainer import train
from worker.engine.training.zeros import HeldZeros

Books = Mapping[str, Codebook]


def apply(step: WeightClustering, model: keras.Model, context: StepContext) -> StepOutcome:
    """A clustered copy, its shared values trained if the step says so."""
    clustered = clone_with_weights(model)
    choice = _chosen(step, clustered)
    if not choice.targets and not choice.is_any_too_small:
        raise StepFailed(
            "no layer can be clustered: " + (choice.reasons() or "none has kernels"),
            hint="Change `include` and `exclude`.",
        )
    books: Books
    books, errors = _clustered(step, choice.targets, context)
    masks = {name: mask for name, mask in context.masks.items() if name not in books}
    recovered, books = _trained(step, clustered, books, masks, context)
    return StepOutcome(
        model=clustered,
        # What is a value like any other need not stay zero.
        masks=context.masks if step.preserve_sparsity else masks,
        lineage=context.lineage,
        levels=books,
        accuracy_after_change=recovered.accuracy_after_change,
        facts={**_facts(choice, books, errors), **recovered.facts},
        skipped=choice.skipped,
        warnings=(*choice.warnings(), *recovered.warnings),
    )


@dataclass(frozen=True)
class _Choice:
    """What is clustered; `left` says of each other weight or layer why not."""

    targets: tuple[Target, ...]
    left: Mapping[str, str]
    skipped: tuple[SkippedLayer, ...]
    is_any_too_small: bool

    def reasons(self) -> str:
        return "; ".join(f"{name}: {reason}" for name, reason in self.left.items())

    def warnings(self) -> tuple[str, ...]:
        if self.targets:
            return ()
        return (f"weight_clustering changed nothing: {self.reasons()}.",)


def _chosen(step: WeightClustering, model: keras.Model) -> _Choice:
    chosen: list[Target] = []
    left: dict[str, str] = {}
    skipped: dict[str, str] = {}
    is_any_too_small = False
    for found in targets(model, with_biases=step.biases):
        small = None
        if not step.selects(found.layer_name):
            reason: str | None = "not chosen by the recipe"
        elif isinstance(found, NoTarget):
            reason = found.reason
        else:
            small = too_small(found, step.number_of_clusters, per_channel=step.is_per_channel)
            reason = obstacle(found) or small
        if isinstance(found, Target) and reason is None:
            chosen.append(found)
            continue
        is_any_too_small |= small is not None
        left[found.name if isinstance(found, Target) else found.layer_name] = str(reason)
        skipped[found.layer_name] = str(reason)
    taken = {target.layer_name for target in chosen}
    return _Choice(
        tuple(chosen),
        left,
        tuple(
            SkippedLayer(layer=name, reason=why)
            for name, why in skipped.items()
            if name not in taken
        ),
        is_any_too_small,
    )


def _clustered(
    step: WeightClustering, chosen: Sequence[Target], context: StepContext
) -> tuple[dict[str, Codebook], dict[str, float]]:
    """Codebooks of the chosen weights, which now lie on them, and the mean squared errors."""
    sharing = Sharing(
        number_of_clusters=step.number_of_clusters,
        init=step.centroid_init,
        keeps_zero=step.preserve_sparsity,
        check_cancelled=context.check_cancelled,
    )
    books: dict[str, Codebook] = {}
    errors: dict[str, float] = {}
    context.check_cancelled()
    context.report_progress(0.0, f"clustering {len(chosen)} weights")
    for index, target in enumerate(chosen):
        before = target.variable.numpy()
        axis = target.channel_axis if step.is_per_channel else None
        rng = np.random.default_rng([context.seed, index])
        books[target.name], after = sharing.codebook(before, axis, rng)
        errors[target.name] = float(np.square(after - before).mean(dtype=np.float64))
        target.variable.assign(after)
        if step.recovery is None:
            context.report_progress((index + 1) / len(chosen), f"clustered {target.name}")
    return books, errors


def _trained(
    step: WeightClustering,
    model: keras.Model,
    books: Books,
    masks: Masks,
    context: StepContext,
) -> tuple[Recovered, Books]:
    """Train, if the step says so, what clustering leaves free to move; `masks` are of the rest."""
    training = step.training()
    if training is None:
        return Recovered(), books
    shared = SharedWeights(model, books, keeps_zero=step.preserve_sparsity)
    fixed = FixedWeights(model, books)
    if not step.trains_centroids:
        _require_others(model, fixed)
    interventions = Interventions(
        zeros=HeldZeros(model, masks),
        reparametrization=shared if step.trains_centroids else fixed,
    )
    history = train(model, context, training, interventions)
    recovered = Recovered(
        history.score_before, history.kept_score, history.facts(), history.warnings
    )
    return recovered, {**books, **{name: tidied(one) for name, one in shared.books().items()}}


def _require_others(model: keras.Model, fixed: FixedWeights) -> None:
    """Raises: StepFailed where nothing is left to train."""
    kept = {id(weight) for weight in fixed.replaced}
    if all(id(weight) in kept for weight in model.trainable_variables):
        raise StepFailed(
            "every weight that could be trained is clustered, so with train_centroids: false the "
            "recovery has nothing to train",
            hint="Leave train_centroids out, or recovery.",
        )


def _facts(choice: _Choice, books: Books, errors: Mapping[str, float]) -> dict[str, Any]:
    uses = {
        target.name: usage_of(books[target.name], target.variable.numpy())
        for target in choice.targets
    }
    size = sum(use.size for use in uses.values())
    return {
        "clustered_weights": size,
        "index_bits_per_weight": _mean(uses, "index_bits", size),
        "entropy_bits_per_weight": _mean(uses, "entropy_bits", size),
        "weights": {
            name: {
                "clusters": use.clusters,
                "distinct_values": use.distinct_values,
                "index_bits": use.index_bits,
                "entropy_bits": round(use.entropy_bits, 4),
                "mse": errors[name],
            }
            for name, use in uses.items()
        },
        "left_out": dict(choice.left),
    }


def _mean(uses: Mapping[str, Usage], field: str, size: int) -> float | None:
    """Over all weights alike."""
    if not size:
        return None
    return math.fsum(getattr(use, field) * use.size for use in uses.values()) / size
