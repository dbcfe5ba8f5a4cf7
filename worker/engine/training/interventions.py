"""What a technique does while its model trains."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import keras

from worker.engine.training.teaching import Teaching
from worker.engine.training.zeros import HeldZeros

AfterStep = Callable[[int], None]


class Reparametrization(Protocol):
    """Weights of a model computed from other variables: latents, shadows, shared values.

    The model itself stays as it is: in each optimizer step its layers are given `values()` in
    place of what they hold, and gradients go to `trained`. Only `settle` writes into the model.
    """

    @property
    def replaced(self) -> list[keras.Variable]:
        """Variables of the model that are computed, so they are not trained themselves."""

    @property
    def trained(self) -> list[keras.Variable]:
        """What is trained in their place."""

    @property
    def state(self) -> list[keras.Variable]:
        """What else changes from step to step and has to be saved with a checkpoint."""

    def values(self) -> list[tuple[keras.Variable, Any]]:
        """Each replaced variable with its value in this step; traceable and differentiable."""

    def penalty(self) -> Any:
        """What is added to the loss, a float32 scalar; traceable and differentiable."""

    def settle(self) -> None:
        """Give the replaced variables the values that an exported model is to have."""

    def fingerprint(self) -> str:
        """The same for those that start alike, as far as options of training do not say it."""


@dataclass(frozen=True)
class Interventions:
    """What a technique does while its model trains.

    `after_step` is called with the number of optimizer steps done: 0 before the first, then 1, 2,
    ... Epochs that end before `counts_from` steps are never the best: the model was not yet what
    it is to become. `zeros` are held after every step. `teaching` adds what teachers say to the
    loss; where it is null, `distill` of the training's options decides. `reparametrization`
    settles before every evaluation and at the end, when its variables are those of the best epoch.

    A training that goes on from a checkpoint has the weights and zeros of then; `after_step` is not
    told again of steps before it, so it must keep nothing else of its own.
    """

    zeros: HeldZeros | None = None
    teaching: Teaching | None = None
    after_step: AfterStep | None = None
    counts_from: int = 0
    reparametrization: Reparametrization | None = None
