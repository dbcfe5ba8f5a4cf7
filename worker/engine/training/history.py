"""What a training came to, epoch by epoch, and which epoch is the best."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from worker.engine.training.evaluation import Evaluation

Array = NDArray[Any]

# Codes: `early` is early stopping, `training_diverged` that of the error of the same code.
Stopped = Literal["early", "training_diverged"]


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training rows came to; `validation` is null without such rows."""

    train_loss: float
    validation: Evaluation | None


@dataclass(frozen=True)
class TrainingHistory:
    """Every finished epoch, and the number (from 1) of the one whose weights the model now has.

    Epoch 0 is the model as it was before the training, which came to `before` on the rows set
    aside; null without such rows, or where that model was not yet what it is to become. `stopped`
    says why there are fewer epochs than asked for; null if there are not. `warnings` are sentences
    for the report. `resumed_at_step` is where a later attempt of the job went on, whose time alone
    the report holds; null if there was one attempt. `seconds_per_step` is the median of
    this attempt; `coding` are the figures of coded gradients, null where they were not coded.
    """

    epochs: tuple[Epoch, ...]
    kept_epoch: int
    optimizer_steps: int
    stopped: Stopped | None = None
    warnings: tuple[str, ...] = ()
    before: Evaluation | None = None
    resumed_at_step: int | None = field(default=None, compare=False)
    seconds_per_step: float | None = field(default=None, compare=False)
    coding: dict[str, Any] | None = field(default=None, compare=False)

    @property
    def kept(self) -> Evaluation | None:
        """What the kept epoch came to on the rows set aside; null without any."""
        return self.epochs[self.kept_epoch - 1].validation if self.kept_epoch else self.before

    @property
    def kept_score(self) -> float | None:
        """Accuracy (r2 in regression) of the kept epoch on the rows set aside; null without any."""
        return self.kept.score if self.kept else None

    @property
    def score_before(self) -> float | None:
        """Accuracy (r2 in regression) of epoch 0 on the rows set aside; null where not known."""
        return self.before.score if self.before else None

    def facts(self) -> dict[str, Any]:
        """Plain values for a step's report."""
        losses = [round(epoch.train_loss, 6) for epoch in self.epochs]
        scores = [epoch.validation.score for epoch in self.epochs if epoch.validation]
        return {
            "epochs": len(self.epochs),
            "kept_epoch": self.kept_epoch,
            "optimizer_steps": self.optimizer_steps,
            "stopped": self.stopped,
            "resumed_at_step": self.resumed_at_step,
            "train_loss": losses,
            "validation_score": scores,
            **({"gradient_quantization": self.coding} if self.coding else {}),
        }


@dataclass
class Best:
    """The best epoch so far by `rank_of`; ties go to the later.

    What is trained longer at full sparsity is better recovered, though a few rows cannot show it.
    Without rows to judge by, the last is the best. Epoch 0 is the model before its training.
    `improved` is the last epoch from 1 on that was better than those from 1 on before it, which
    came to `peak`: a training that first makes the model worse may yet make it better.
    """

    rank: float = -math.inf
    epoch: int = 0
    improved: int = 0
    peak: float = -math.inf
    weights: list[Array] = field(default_factory=list)

    def offer(
        self, epoch: int, evaluation: Evaluation | None, variables: Sequence[keras.Variable]
    ) -> None:
        """An epoch to choose from; `variables` as they are after it are kept if it is the best."""
        rank = rank_of(evaluation)
        if epoch and rank > self.peak:
            self.improved, self.peak = epoch, rank
        if rank >= self.rank:
            self.rank, self.epoch = rank, epoch
            self.weights = [np.array(variable.numpy()) for variable in variables]

    def is_stale(self, epoch: int, patience: int | None) -> bool:
        """Whether nothing became better in so many epochs up to this one."""
        return patience is not None and epoch - self.improved >= patience


def rank_of(evaluation: Evaluation | None) -> float:
    """Higher is better: accuracy where every output classifies, else the loss turned around.

    The accuracy of a model that also gives values says nothing of them; its loss knows all outputs.
    Without rows, and where the loss is not a number, nothing is worse.
    """
    if evaluation is None or math.isnan(evaluation.loss):
        return -math.inf
    accuracy = evaluation.accuracy
    return accuracy if accuracy is not None and evaluation.mse is None else -evaluation.loss


def setback(before: Evaluation, epochs: Sequence[Epoch]) -> str:
    """The warning of a training of which every epoch was worse than the model `before` it."""
    after = max((epoch.validation for epoch in epochs), key=rank_of)
    is_by_loss = before.accuracy is None or before.mse is not None
    return (
        f"Training made the model worse than it started ({'loss' if is_by_loss else 'accuracy'} "
        f"{abs(rank_of(before)):.4g} -> {abs(rank_of(after)):.4g} on the rows set aside); the "
        "weights are those from before it. Lower learning_rate."
    )
