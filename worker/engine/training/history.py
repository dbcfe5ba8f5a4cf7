"""What a training came to, epoch by epoch, and which epoch is the best."""

import math
from dataclasses import dataclass, field
from typing import Any

import keras
from numpy.typing import NDArray

from worker.engine.training.evaluation import Evaluation

Array = NDArray[Any]


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training rows came to; `validation` is null without such rows."""

    train_loss: float
    validation: Evaluation | None


@dataclass(frozen=True)
class TrainingHistory:
    """Every epoch, and the number (from 1) of the one whose weights the model now has."""

    epochs: tuple[Epoch, ...]
    kept_epoch: int
    optimizer_steps: int

    def facts(self) -> dict[str, Any]:
        """Plain values for a step's report."""
        losses = [round(epoch.train_loss, 6) for epoch in self.epochs]
        scores = [epoch.validation.score for epoch in self.epochs if epoch.validation]
        return {
            "epochs": len(self.epochs),
            "kept_epoch": self.kept_epoch,
            "optimizer_steps": self.optimizer_steps,
            "train_loss": losses,
            "validation_score": scores,
        }


@dataclass
class Best:
    """The best epoch so far: highest accuracy, or lowest loss in regression; ties go to the later.

    What is trained longer at full sparsity is better recovered, though a few rows cannot show it.
    """

    rank: float = -math.inf
    epoch: int = 0
    weights: list[Array] = field(default_factory=list)

    def offer(self, epoch: int, evaluation: Evaluation, model: keras.Model) -> None:
        accuracy = evaluation.accuracy
        rank = accuracy if accuracy is not None else -evaluation.loss
        if rank >= self.rank:
            self.rank, self.epoch, self.weights = rank, epoch, model.get_weights()
