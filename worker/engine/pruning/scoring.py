"""Importance of the units of a model's channel groups, as a step asks for it."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Literal

import keras
import numpy as np

from app.recipes.steps.channel_pruning import ChannelPruning
from app.recipes.steps.recovery import Recovery
from worker.engine.context import StepContext
from worker.engine.pruning.importance import FloatArray, relative, unit_norms
from worker.engine.pruning.taylor import Sample, squared_changes
from worker.engine.surgery.channels.groups import ChannelGroup
from worker.engine.surgery.weights import leaves, named_weights, sublayers

# Weights that make channels. A recurrent bias has two axes as well.
KERNELS = ("kernel", "pointwise_kernel", "recurrent_kernel", "embeddings")

WITHOUT_SCORE: Mapping[str, str] = {
    "l1": "no kernel makes its channels",
    "l2": "no kernel makes its channels",
    "bn_scale": "no BatchNormalization scales its channels; give it a step with another importance",
}


def unscored(
    step: ChannelPruning, model: keras.Model, groups: Sequence[ChannelGroup]
) -> dict[str, str]:
    """Groups some of whose units this importance says nothing about, and why."""
    reason = WITHOUT_SCORE.get(step.importance)
    if reason is None:
        return {}
    rows = _rows_of_weights(step, model, groups)
    return {name: reason for name, of_group in rows.items() if not _is_complete(of_group)}


def scores(
    step: ChannelPruning,
    model: keras.Model,
    groups: Sequence[ChannelGroup],
    context: StepContext,
) -> dict[str, FloatArray]:
    """How much each unit matters, [units] by group; low goes first.

    Relative to its own group (per_layer), or to all groups of its kind (global).
    Raises: Cancelled.
    """
    rows = _rows(step, model, groups, context)
    is_ranked_alone = step.scope == "per_layer"
    families: dict[str, Hashable] = {
        group.name: group.name if is_ranked_alone else (group.structure, len(rows[group.name]))
        for group in groups
    }
    return relative(rows, families)


def _is_complete(rows: FloatArray) -> bool:
    """Whether every unit has a number in some row."""
    return len(rows) > 0 and bool((~np.isnan(rows)).any(axis=0).all())


def _rows(
    step: ChannelPruning,
    model: keras.Model,
    groups: Sequence[ChannelGroup],
    context: StepContext,
) -> dict[str, FloatArray]:
    """[rows, units] by group, as `relative` takes them."""
    if step.importance == "taylor":
        changes = squared_changes(model, groups, context, _sample(step, context))
        # The root, in the order of the squares: of squares a few large ones would be the mean.
        return {name: np.sqrt(squares)[np.newaxis] for name, squares in changes.items()}
    if step.importance == "random":
        rng = np.random.default_rng(context.seed)
        return {group.name: rng.random((1, group.count)) for group in groups}
    return _rows_of_weights(step, model, groups)


def _rows_of_weights(
    step: ChannelPruning, model: keras.Model, groups: Sequence[ChannelGroup]
) -> dict[str, FloatArray]:
    if step.importance == "bn_scale":
        gammas = _batch_norm_scales(model)
        return {group.name: _row_of_each(group, gammas, "l1") for group in groups}
    weights = {name: one for name, one in named_weights(model).items() if one.name in KERNELS}
    norm: Literal["l1", "l2"] = "l2" if step.importance == "l2" else "l1"
    return {group.name: _row_of_each(group, weights, norm) for group in groups}


def _sample(step: ChannelPruning, context: StepContext) -> Sample:
    """None of the rows on which recovery is validated; the loss is that which it lowers."""
    training = step.training() or Recovery()
    rows, _ = context.divided(training.validation_fraction)
    return Sample(rows, step.taylor_batches, training.loss)


def _row_of_each(
    group: ChannelGroup, weights: Mapping[str, keras.Variable], norm: Literal["l1", "l2"]
) -> FloatArray:
    """A row for each of these weights that makes units of the group: [rows, units]."""
    rows = [
        unit_norms(_values(weights[part.weight]), part.axis, part.units, group.count, norm)
        for part in group.slices
        if part.role == "output" and part.weight in weights
    ]
    return np.stack(rows) if rows else np.empty((0, group.count))


def _values(weight: keras.Variable) -> FloatArray:
    """As float32, whatever type the model keeps it in."""
    values: FloatArray = weight.numpy().astype(np.float32)
    return values


def _batch_norm_scales(model: keras.Model) -> dict[str, keras.Variable]:
    """The gamma of every BatchNormalization, by its stable name."""
    own = {
        id(layer.gamma)
        for leaf in leaves(model)
        for layer in sublayers(leaf.layer)
        if isinstance(layer, keras.layers.BatchNormalization) and layer.scale
    }
    return {name: one for name, one in named_weights(model).items() if id(one) in own}
