"""Weight quantization: kernels onto grids of few values, without training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from app.errors import StepFailed
from app.recipes.steps.weight_quantization import WeightQuantization
from worker.engine.context import StepContext, StepOutcome
from worker.engine.quantizing.weights.choosing import chosen_kernels
from worker.engine.quantizing.weights.equalization import equalized, range_use
from worker.engine.quantizing.weights.looking import Look
from worker.engine.quantizing.weights.pairs import Found, Unpaired, pairs
from worker.engine.quantizing.weights.quantizer import Quantized, Quantizer
from worker.engine.quantizing.weights.rows import CalibrationRows, calibration_rows
from worker.engine.surgery.cloning import clone_with_weights
from worker.engine.surgery.kernels import Kernel
from worker.engine.surgery.weights import named_weights
from worker.engine.training.evaluation import evaluate

SCALED = "its channels were scaled against the next layer's since; uploaded weights lack that"


def apply(step: WeightQuantization, model: keras.Model, context: StepContext) -> StepOutcome:
    """A copy whose chosen kernels lie on grids.

    Raises: StepFailed if there is no kernel to quantize, or one holds NaN; Cancelled.
    """
    context.check_cancelled()
    chosen, skipped = chosen_kernels(step, model)
    if not chosen:
        raise StepFailed(
            "no layer can be quantized: "
            + ("; ".join(f"{skip.layer}: {skip.reason}" for skip in skipped) or "none has kernels"),
            hint="Change `include` and `exclude`.",
        )
    equal = _equalized(model, chosen) if step.equalization else Equalized(model)
    work = _Work(step, equal.model, context)
    kept, choice = work.better() if step.rounding == "integer" else (work.quantized(), {})
    return StepOutcome(
        model=kept.model,
        masks=context.masks,
        lineage=context.lineage.with_foreign(equal.changed, SCALED),
        levels=kept.grids,
        facts={**_facts(step, kept), **choice, **equal.facts, **work.row_facts},
        skipped=skipped,
        warnings=(*work.warnings, *_group_warnings(step, kept)),
    )


@dataclass(frozen=True)
class Equalized:
    """The model with channels scaled against each other; what it computes is the same."""

    model: keras.Model
    changed: Sequence[str] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


def _equalized(model: keras.Model, chosen: Sequence[Kernel]) -> Equalized:
    found = tuple(pairs(model, frozenset(kernel.layer_name for kernel in chosen)))
    paired = [one for one in found if isinstance(one, Found)]
    weights = {name: variable.numpy() for name, variable in named_weights(model).items()}
    changed = equalized(weights, [one.pair for one in paired])
    facts = {
        "equalized": [
            {
                "first": one.first,
                "second": one.second,
                "range_use_before": [range_use(weights, side) for side in _sides(one)],
                "range_use_after": [range_use(changed, side) for side in _sides(one)],
            }
            for one in paired
        ],
        "not_equalized": {one.layer: one.reason for one in found if isinstance(one, Unpaired)},
    }
    return Equalized(clone_with_weights(model, changed), tuple(changed), facts)


def _sides(found: Found) -> tuple[Any, Any]:
    return found.pair.first, found.pair.second


class _Work:
    """Quantizes copies of one model; rows are read once."""

    def __init__(self, step: WeightQuantization, model: keras.Model, context: StepContext) -> None:
        self._step = step
        self._model = model
        self._context = context
        self._rows: CalibrationRows | None = None
        if step.looks_at_rows:
            self._rows = calibration_rows(model, context, step.calibration_samples)

    @property
    def warnings(self) -> tuple[str, ...]:
        return self._rows.warnings if self._rows else ()

    @property
    def row_facts(self) -> dict[str, Any]:
        return {"calibration_samples": self._rows.count} if self._rows else {}

    def quantized(self, *, is_scaled: bool = True) -> Quantized:
        chosen, _ = chosen_kernels(self._step, self._model)
        quantizer = Quantizer(self._step, self._model, chosen, self._context, is_scaled=is_scaled)
        if self._rows is None:
            for kernel in chosen:
                quantizer.alone(kernel.name)
        else:
            is_adaptive = self._step.rounding == "adaptive"
            Look(self._model, quantizer, self._rows, products=is_adaptive).quantize()
        return quantizer.done

    def better(self) -> tuple[Quantized, dict[str, Any]]:
        """Of whole numbers and scaled ones that which was asked for, or the better one."""
        tried = {
            scaling: self.quantized(is_scaled=scaling == "range") for scaling in ("none", "range")
        }
        costs = {scaling: self._cost(one) for scaling, one in tried.items()}
        kept, because = _kept(self._step, costs)
        facts = {"integer_scaling": costs, "kept_scaling": kept, "kept_because": because}
        return tried[kept], facts

    def _cost(self, quantized: Quantized) -> dict[str, float | None]:
        rows = self._context.validation_of(self._step)
        score = None
        if rows is not None:
            score = evaluate(
                quantized.model, rows, self._context.tasks, self._context.check_cancelled
            ).score
        weights = sum(one["weights"] for one in quantized.facts.values())
        return {
            "validation_score": score,
            "mean_squared_error": sum(
                one["mean_squared_error"] * one["weights"] for one in quantized.facts.values()
            )
            / weights,
            "zero_weights": sum(
                one["zero_weights"] * one["weights"] for one in quantized.facts.values()
            )
            / weights,
        }


def _kept(
    step: WeightQuantization, costs: Mapping[str, Mapping[str, float | None]]
) -> tuple[str, str]:
    """Which scaling, and why."""
    if step.integer_scaling != "better":
        return step.integer_scaling, "the recipe asks for it"
    none, scaled = costs["none"], costs["range"]
    scores = none["validation_score"], scaled["validation_score"]
    if scores[0] is not None and scores[1] is not None and scores[0] != scores[1]:
        kept = "none" if scores[0] > scores[1] else "range"
        return kept, "it has the higher score on validation rows"
    errors = [costs[name]["mean_squared_error"] or 0.0 for name in ("none", "range")]
    return ("none" if errors[0] < errors[1] else "range"), "it has the smaller squared error"


def _facts(step: WeightQuantization, quantized: Quantized) -> dict[str, Any]:
    kernels = quantized.facts.values()
    weights = sum(one["weights"] for one in kernels)
    facts: dict[str, Any] = {
        "num_bits": step.num_bits,
        "quantized_weights": weights,
        "float32_bytes": 4 * weights,
        "integer_bytes": sum(one["integer_bytes"] for one in kernels),
        "scale_bytes": sum(one["scale_bytes"] for one in kernels),
        "changed_weights": sum(one["changed_weights"] * one["weights"] for one in kernels)
        / weights,
        "kernels": quantized.facts,
    }
    if step.bias_correction:
        facts["bias_correction"] = quantized.biases
    return facts


def _group_warnings(step: WeightQuantization, quantized: Quantized) -> tuple[str, ...]:
    """Where a group is a channel after all, its size had no effect."""
    if step.granularity != "per_group":
        return ()
    whole = [
        name
        for name, one in quantized.facts.items()
        if int(np.prod(one["block"])) < step.group_size
        and _is_whole(one["block"], quantized.grids[name].scale.shape)
    ]
    if not whole:
        return ()
    more = f" and {len(whole) - 3} more" if len(whole) > 3 else ""
    warning = (
        f"group_size {step.group_size} is larger than all inputs of one output in "
        f"{', '.join(whole[:3])}{more}: there each channel has one scale."
    )
    return (warning,)


def _is_whole(block: Sequence[int], counts: Sequence[int]) -> bool:
    """Whether no axis on which a block is longer than 1 has more than one block."""
    return all(edge == 1 or count == 1 for edge, count in zip(block, counts, strict=True))
