"""Which weights of a model are coded, and the step that each of them starts from."""

from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np

from app.recipes.steps.entropy_penalized_training import (
    KEPT_FLOAT,
    NORMALIZATIONS,
    EntropyPenalizedTraining,
)
from app.reports.report import SkippedLayer
from worker.engine.quantizing.levels import Grid, LevelsByName
from worker.engine.rate.latents import Coded
from worker.engine.surgery.kernels import Kernel, kernels
from worker.engine.surgery.weights import Leaf, leaves, sublayers

# Biases are few, and each moves all rows alike: they get finer steps.
BIAS_SHARE = 0.5


class Chosen(NamedTuple):
    """What is coded, and which layers with weights are left out and why."""

    coded: tuple[Coded, ...]
    skipped: tuple[SkippedLayer, ...]


def chosen(step: EntropyPenalizedTraining, model: keras.Model) -> Chosen:
    """Every trainable weight of the chosen layers but those of normalizations."""
    axes = {
        id(found.variable): found.input_axes
        for found in kernels(model)
        if isinstance(found, Kernel)
    }
    coded: dict[int, Coded] = {}
    skipped: list[SkippedLayer] = []
    for leaf in leaves(model):
        if not leaf.layer.weights:
            continue
        reason = _reason(step, leaf)
        if reason:
            skipped.append(SkippedLayer(layer=leaf.layer.name, reason=reason))
            continue
        for name, variable in _codable(leaf).items():
            rank = len(variable.shape)
            default = tuple(range(rank - 1)) if rank > 1 else tuple(range(rank))
            # A weight that two layers hold is coded once.
            coded.setdefault(id(variable), Coded(name, variable, axes.get(id(variable), default)))
    return Chosen(tuple(coded.values()), tuple(skipped))


def initial_steps(
    step: EntropyPenalizedTraining, coded: Sequence[Coded], levels: LevelsByName
) -> dict[str, float]:
    """By name: that of an earlier step's grid where there is one, else a share of the spread."""
    return {one.name: _initial_step(step, one, levels) for one in coded}


def _initial_step(step: EntropyPenalizedTraining, coded: Coded, levels: LevelsByName) -> float:
    grid = levels.get(coded.name)
    if isinstance(grid, Grid) and grid.scale.size == 1 and not grid.zero_point.any():
        found = float(grid.scale.ravel()[0])
        if found > 0:
            return found
    share = 1.0 if len(coded.shape) > 1 else BIAS_SHARE
    spread = float(np.std(coded.variable.numpy()))
    return share * max(step.initial_step * spread, step.smallest_step)


def _reason(step: EntropyPenalizedTraining, leaf: Leaf) -> str | None:
    if not step.selects(leaf.layer.name):
        return "not chosen by the recipe"
    if not leaf.layer.trainable_weights:
        return "none of its weights trains"
    if not _codable(leaf):
        return KEPT_FLOAT
    return None


def _codable(leaf: Leaf) -> dict[str, keras.Variable]:
    trained = {id(variable) for variable in leaf.layer.trainable_weights}
    kept_float = {
        id(variable)
        for layer in sublayers(leaf.layer)
        if type(layer).__name__ in NORMALIZATIONS
        for variable in layer.weights
    }
    return {
        name: variable
        for name, variable in leaf.weights().items()
        if id(variable) in trained and id(variable) not in kept_float
    }
