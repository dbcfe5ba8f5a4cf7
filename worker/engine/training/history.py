"""What a training came to, epoch by epoch, and which epoch is the best."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import keras
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

    `stopped` says why there are fewer epochs than asked for; null if there are not. `warnings` are
    sentences for the report.
    """

    epochs: tuple[Epoch, ...]
    kept_epoch: int
    optimizer_steps: int
    stopped: Stopped | None = None
    warnings: tuple[str, ...] = ()

    @property
    def kept_score(self) -> float | None:
        """Accuracy (r2 in regression) of the kept epoch on the rows set aside; null without any."""
        validation = self.epochs[self.kept_epoch - 1].validation
        return validation.score if validation else None

    def facts(self) -> dict[str, Any]:
        """Plain values for a step's report."""
        losses = [round(epoch.train_loss, 6) for epoch in self.epochs]
        scores = [epoch.validation.score for epoch in self.epochs if epoch.validation]
        return {
            "epochs": len(self.epochs),
            "kept_epoch": self.kept_epoch,
            "optimizer_steps": self.optimizer_steps,
            "stopped": self.stopped,
            "train_loss": losses,
            "validation_score": scores,
        }


@dataclass
class Best:
    """The best epoch so far: highest accuracy, or lowest loss in regression; ties go to the later.

    What is trained longer at full sparsity is better recovered, though a few rows cannot show it.
    Without rows to judge by, the last is the best. `improved` is the last epoch that was better
    than all before it, not as good.
    """

    rank: float = -math.inf
    epoch: int = 0
    improved: int = 0
    weights: list[Array] = field(default_factory=list)

    def offer(self, epoch: int, evaluation: Evaluation | None, model: keras.Model) -> None:
        rank = _rank(evaluation)
        if rank > self.rank:
            self.improved = epoch
        if rank >= self.rank:
            self.rank, self.epoch, self.weights = rank, epoch, model.get_weights()

    def is_stale(self, epoch: int, patience: int | None) -> bool:
        """Whether nothing became better in so many epochs up to this one."""
        return patience is not None and epoch - self.improved >= patience


def _rank(evaluation: Evaluation | None) -> float:
    if evaluation is None:
        return -math.inf
    return evaluation.accuracy if evaluation.accuracy is not None else -evaluation.loss
