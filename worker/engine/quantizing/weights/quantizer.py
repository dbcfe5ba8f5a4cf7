"""Puts the chosen kernels of a model on their grids, one after another."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from app.errors import StepFailed
from app.recipes.steps.weight_quantization import WeightQuantization
from worker.engine.context import StepContext
from worker.engine.quantizing.levels import Grid
from worker.engine.quantizing.weights.kernels import (
    Rounded,
    facts_of,
    grid_on,
    rounded_alone,
    rounded_together,
    whole_numbers,
)
from worker.engine.quantizing.weights.moments import Moments, output_shift
from worker.engine.quantizing.weights.views import View
from worker.engine.surgery.cloning import clone_with_weights
from worker.engine.surgery.kernels import Kernel
from worker.engine.surgery.weights import named_weights


@dataclass
class Quantized:
    """A copy of the model with its kernels on grids; all by stable weight name.

    `biases` say of each kernel what bias correction did, where the step asks for it.
    """

    model: keras.Model
    grids: dict[str, Grid] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    biases: dict[str, Any] = field(default_factory=dict)


class Quantizer:
    """One quantization under way on a copy of the model.

    `is_scaled` = False rounds the weights themselves to whole numbers.
    Raises: StepFailed for weights that are not finite.
    """

    def __init__(
        self,
        step: WeightQuantization,
        before: keras.Model,
        chosen: Sequence[Kernel],
        context: StepContext,
        *,
        is_scaled: bool = True,
    ) -> None:
        self.done = Quantized(clone_with_weights(before))
        self.chosen = {kernel.name: kernel for kernel in chosen}
        self._step = step
        self._context = context
        self._is_scaled = is_scaled
        self._rng = np.random.default_rng(context.seed)
        self._variables = named_weights(self.done.model)
        for kernel in chosen:
            _check_finite(kernel)

    def alone(self, name: str) -> None:
        """Round one kernel, each weight by itself."""
        weight = self._variables[name].numpy()
        self._settle(name, rounded_alone(self._step, weight, self._grid(name, weight), self._rng))

    def seen(self, name: str, view: View, moments: Moments) -> None:
        """Round one kernel by what it is multiplied with, and move the bias after it if asked."""
        self._check_moments(name, moments)
        weight = self._variables[name].numpy()
        grid = self._grid(name, weight)
        if self._step.rounding == "adaptive":
            rounded = rounded_together(self._step, weight, grid, view.layout, moments)
        else:
            rounded = rounded_alone(self._step, weight, grid, self._rng)
        self._settle(name, rounded)
        if self._step.bias_correction:
            self.done.biases[name] = _correct_bias(view, weight, rounded, moments)

    def _grid(self, name: str, weight: NDArray[Any]) -> Grid:
        if not self._is_scaled:
            return whole_numbers(self._step, weight)
        return grid_on(self._step, weight, self.chosen[name].input_axes)

    def _settle(self, name: str, rounded: Rounded) -> None:
        kernel, variable = self.chosen[name], self._variables[name]
        self.done.facts[name] = facts_of(kernel, variable.numpy(), rounded)
        self.done.grids[name] = rounded.grid
        variable.assign(rounded.values)
        count = len(self.done.grids)
        self._context.report_progress(
            count / len(self.chosen), f"{count} of {len(self.chosen)} kernels quantized"
        )
        self._context.check_cancelled()

    def _check_moments(self, name: str, moments: Moments) -> None:
        layer = self.chosen[name].layer_name
        if not moments.is_finite:
            raise StepFailed(
                f"what layer {layer!r} is given on calibration rows is not finite: NaN or infinity",
                hint="Look at what the model predicts on the training rows; or quantize without "
                "rows: rounding 'nearest', no bias_correction.",
                layer=layer,
            )


def _check_finite(kernel: Kernel) -> None:
    if not np.isfinite(kernel.variable.numpy()).all():
        raise StepFailed(
            f"{kernel.name} holds NaN or infinity: no grid has these",
            hint="Upload a model whose weights are finite, or exclude this layer.",
            layer=kernel.layer_name,
        )


def _correct_bias(
    view: View, weight: NDArray[Any], rounded: Rounded, moments: Moments
) -> dict[str, Any]:
    """Add to the bias what the mean output of each channel lost; why not, where it cannot be."""
    if view.bias is None:
        return {"corrected": False, "because": view.without_bias}
    before = view.layout.matrices(weight).astype(np.float64)
    now = view.layout.matrices(rounded.values).astype(np.float64)
    shift = output_shift(before, now, moments).reshape(view.bias.shape)
    view.bias.assign(view.bias.numpy() + shift)
    return {"corrected": True, "mean_shift": float(np.abs(shift).mean())}
