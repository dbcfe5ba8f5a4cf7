"""Magnitude pruning: the smallest weights become zero and stay zero."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from app.errors import StepFailed
from app.recipes.steps.magnitude_pruning import MagnitudePruning
from app.reports.report import SkippedLayer
from worker.engine.context import BoolArray, Masks, StepContext, StepOutcome
from worker.engine.surgery.cloning import clone_with_weights
from worker.engine.surgery.kernels import Kernel, NoKernel, kernels
from worker.engine.surgery.masks import (
    FloatArray,
    as_matrix,
    block_means,
    from_matrix,
    keep_mask,
    keep_n_of_m,
    spread_blocks,
)
from worker.engine.training.interventions import Interventions
from worker.engine.training.recovery import Recovered, recover
from worker.engine.training.trainer import train
from worker.engine.training.zeros import HeldZeros

DEFAULT_END = 0.6
DEFAULT_UPDATES = 50


def apply(step: MagnitudePruning, model: keras.Model, context: StepContext) -> StepOutcome:
    """A pruned copy, trained with its zeros held if the step says so."""
    pruned = clone_with_weights(model)
    chosen, skipped = _chosen(step, pruned)
    if not chosen:
        raise StepFailed(
            "no layer can be pruned: "
            + ("; ".join(f"{skip.layer}: {skip.reason}" for skip in skipped) or "none has kernels"),
            hint="Change `include` and `exclude`, or the pattern.",
        )
    everything = {kernel.name: np.ones(tuple(kernel.variable.shape), np.bool_) for kernel in chosen}
    zeros = HeldZeros(pruned, {**everything, **context.masks})
    work = _Pruning(step, chosen, zeros, context)
    recovered = work.run(pruned)
    return StepOutcome(
        model=pruned,
        masks=zeros.masks,
        lineage=context.lineage,
        accuracy_after_change=recovered.accuracy_after_change,
        facts={**_facts(step, chosen, zeros.masks), **recovered.facts},
        skipped=skipped,
        warnings=recovered.warnings,
    )


@dataclass(frozen=True)
class _Pruning:
    """One step under way on a copy of the model."""

    step: MagnitudePruning
    chosen: Sequence[Kernel]
    zeros: HeldZeros
    context: StepContext

    def run(self, model: keras.Model) -> Recovered:
        """Prune and train. A gradual schedule has no moment right after the change."""
        recovery = self.step.training()
        if self.step.schedule == "one_shot" or recovery is None:
            self.prune(self.step.sparsity)
            if recovery is None:
                return Recovered()
            return recover(self.step, model, self.zeros.masks, self.context)
        schedule = schedule_of(self.step, self.context.optimizer_steps(recovery))
        gradual = Interventions(
            self.zeros, after_step=_Gradual(self, schedule), counts_from=schedule.end_step
        )
        history = train(model, self.context, recovery, gradual)
        return Recovered(None, history.kept_score, history.facts(), history.warnings)

    def prune(self, sparsity: float) -> None:
        """Zero the smallest weights of the chosen kernels, as they are now."""
        self.context.check_cancelled()
        before = self.zeros.masks
        held = {kernel.name: before[kernel.name] for kernel in self.chosen}
        masks = keep_masks(self.step, self.chosen, held, sparsity)
        self.zeros.change(masks)
        if sparsity == self.step.sparsity:
            self.context.report_progress(0.0, f"pruned to a sparsity of {sparsity:g}")


@dataclass(frozen=True)
class Schedule:
    """Sparsity over the optimizer steps done."""

    initial_sparsity: float
    final_sparsity: float
    begin_step: int
    end_step: int
    frequency: int

    def is_due(self, steps_done: int) -> bool:
        """Whether masks are renewed now: every `frequency` steps from begin to end, and at both."""
        since = steps_done - self.begin_step
        return steps_done == self.end_step or (
            since >= 0 and steps_done < self.end_step and since % self.frequency == 0
        )

    def sparsity_at(self, steps_done: int) -> float:
        """s_t = s_f + (s_i - s_f)(1 - (t - t_0) / (n dt))^3 (Zhu & Gupta 2017, equation 1)."""
        if steps_done >= self.end_step:
            return self.final_sparsity
        done = (steps_done - self.begin_step) / (self.end_step - self.begin_step)
        missing = self.initial_sparsity - self.final_sparsity
        return self.final_sparsity + missing * (1 - done) ** 3


def schedule_of(step: MagnitudePruning, optimizer_steps: int) -> Schedule:
    """The schedule with its defaults filled in for a training of this many optimizer steps."""
    begin = min(step.begin_step, optimizer_steps)
    if step.schedule == "constant":
        return Schedule(step.sparsity, step.sparsity, begin, begin, frequency=1)
    end = min(
        step.end_step or max(begin + 1, round(DEFAULT_END * optimizer_steps)), optimizer_steps
    )
    frequency = step.frequency or max(1, (end - begin) // DEFAULT_UPDATES)
    return Schedule(step.initial_sparsity, step.sparsity, begin, end, frequency)


@dataclass(frozen=True)
class _Gradual:
    """Called after every optimizer step: prunes a little more when it is due."""

    pruning: _Pruning
    schedule: Schedule

    def __call__(self, steps_done: int) -> None:
        if self.schedule.is_due(steps_done):
            self.pruning.prune(self.schedule.sparsity_at(steps_done))


def keep_masks(
    step: MagnitudePruning, chosen: Sequence[Kernel], held: Masks, sparsity: float
) -> dict[str, BoolArray]:
    """New masks for these kernels; what `held` dropped before ranks lowest and stays dropped."""
    magnitudes = {
        kernel.name: np.where(held[kernel.name], np.abs(kernel.variable.numpy()), -1.0)
        for kernel in chosen
    }
    if step.pattern == "n_m":
        # The schedule thins groups out one weight at a time, up to m - n of every m.
        kept = step.m - round(sparsity * step.m)
        found = {k.name: _keep_groups(k, magnitudes[k.name], kept, step.m) for k in chosen}
    elif step.pattern == "block":
        found = _keep_blocks(step, chosen, magnitudes, sparsity)
    else:
        found = _keep_lowest_out(step, magnitudes, sparsity)
    return {name: mask & held[name] for name, mask in found.items()}


def _keep_lowest_out(
    step: MagnitudePruning, scores: Mapping[str, FloatArray], sparsity: float
) -> dict[str, BoolArray]:
    """Masks over scores of any shape, ranked within each array or over all of them."""
    if step.scope == "per_layer":
        return {name: keep_mask(values, sparsity) for name, values in scores.items()}
    together = keep_mask(np.concatenate([values.ravel() for values in scores.values()]), sparsity)
    ends = np.cumsum([values.size for values in scores.values()])[:-1]
    parts = np.split(together, ends)
    return {
        name: part.reshape(values.shape)
        for (name, values), part in zip(scores.items(), parts, strict=True)
    }


def _keep_groups(kernel: Kernel, magnitudes: FloatArray, kept: int, m: int) -> BoolArray:
    """Groups of m along all inputs of an output, so that a kernel of one channel has groups too."""
    groups = keep_n_of_m(as_matrix(magnitudes, kernel.input_axes), kept, m)
    return from_matrix(groups, magnitudes.shape, kernel.input_axes)


def _keep_blocks(
    step: MagnitudePruning,
    chosen: Sequence[Kernel],
    magnitudes: Mapping[str, FloatArray],
    sparsity: float,
) -> dict[str, BoolArray]:
    matrices = {k.name: as_matrix(magnitudes[k.name], k.input_axes) for k in chosen}
    scores = {name: block_means(matrix, step.block_shape) for name, matrix in matrices.items()}
    blocks = _keep_lowest_out(step, scores, sparsity)
    return {
        k.name: from_matrix(
            spread_blocks(blocks[k.name], step.block_shape, matrices[k.name].shape),
            tuple(k.variable.shape),
            k.input_axes,
        )
        for k in chosen
    }


def _chosen(
    step: MagnitudePruning, model: keras.Model
) -> tuple[tuple[Kernel, ...], tuple[SkippedLayer, ...]]:
    chosen: list[Kernel] = []
    skipped: dict[str, str] = {}
    for found in kernels(model):
        if not step.selects(found.layer_name):
            skipped[found.layer_name] = "not chosen by the recipe"
        elif isinstance(found, NoKernel):
            skipped[found.layer_name] = found.reason
        elif not np.issubdtype(np.dtype(found.variable.dtype), np.floating):
            skipped[found.layer_name] = f"its kernel is stored as {found.variable.dtype}"
        elif too_small := _too_small(step, found):
            skipped[found.layer_name] = too_small
        else:
            chosen.append(found)
    return tuple(chosen), tuple(
        SkippedLayer(layer=name, reason=why) for name, why in skipped.items()
    )


def _too_small(step: MagnitudePruning, kernel: Kernel) -> str | None:
    """Why the step would drop nothing of a kernel, or could only drop all of it; None = neither."""
    if step.sparsity == 0:
        return None
    inputs = math.prod(kernel.variable.shape[axis] for axis in kernel.input_axes)
    outputs = kernel.size // inputs
    shape = f"its {kernel.variable.name} of {inputs} inputs x {outputs} outputs"
    if step.pattern == "n_m":
        is_kept = inputs < step.m and -(-step.n * inputs // step.m) == inputs
        return f"{shape} is too small for groups of {step.m}" if is_kept else None
    height, width = step.block_shape if step.pattern == "block" else (1, 1)
    blocks = -(-inputs // height) * -(-outputs // width)
    if step.pattern == "block" and blocks == 1:
        return f"{shape} is no larger than one block of {height} x {width}"
    if step.scope == "per_layer" and round(step.sparsity * blocks) == 0:
        return f"{shape} is too small: {step.sparsity:g} of it rounds to nothing"
    return None


def _facts(step: MagnitudePruning, chosen: Sequence[Kernel], masks: Masks) -> dict[str, Any]:
    dropped = {kernel.name: int((~masks[kernel.name]).sum()) for kernel in chosen}
    weights = sum(kernel.size for kernel in chosen)
    return {
        "requested_sparsity": step.sparsity,
        "sparsity": sum(dropped.values()) / weights,
        "chosen_weights": weights,
        "pruned_weights": sum(dropped.values()),
        "kernel_sparsity": {kernel.name: dropped[kernel.name] / kernel.size for kernel in chosen},
    }
