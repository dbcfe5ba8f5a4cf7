"""A training's state as arrays and plain values, and back."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from app.recipes.steps.recovery import Recovery
from app.reports.report import HeadMeasurement
from worker.engine.loading.splits import Split
from worker.engine.training.checkpoints import State
from worker.engine.training.evaluation import Evaluation, summary
from worker.engine.training.history import Best, Epoch, Stopped, TrainingHistory, setback
from worker.engine.training.zeros import HeldZeros

Array = NDArray[Any]

# Raise it when what is saved, or how a training goes, changes its meaning.
FORMAT = 3


@dataclass
class Course:
    """How far a training is, but for its weights.

    `seen` rows of the present epoch were learned from, with `loss_sum` over them.
    `resumed_at_step`, and the seconds that optimizer steps took, are of this attempt alone.
    """

    steps_done: int = 0
    seen: int = 0
    loss_sum: float = 0.0
    epochs: list[Epoch] = field(default_factory=list)
    best: Best = field(default_factory=Best)
    stopped: Stopped | None = None
    warnings: list[str] = field(default_factory=list)
    resumed_at_step: int | None = None
    seconds: list[float] = field(default_factory=list)

    @property
    def seconds_per_step(self) -> float | None:
        """The median: the first steps of a graph take far longer."""
        return median(self.seconds) if self.seconds else None

    def history(
        self, before: Evaluation | None, coding: dict[str, Any] | None = None
    ) -> TrainingHistory:
        """What it all came to; `before`: what epoch 0 did; `coding`: figures of gradients."""
        is_chosen = bool(self.best.weights)
        warnings = list(self.warnings)
        if is_chosen and self.best.epoch == 0 and before and self.stopped != "training_diverged":
            warnings.append(setback(before, self.epochs))
        return TrainingHistory(
            epochs=tuple(self.epochs),
            kept_epoch=self.best.epoch if is_chosen else len(self.epochs),
            optimizer_steps=self.steps_done,
            stopped=self.stopped,
            warnings=tuple(warnings),
            before=before,
            resumed_at_step=self.resumed_at_step,
            seconds_per_step=self.seconds_per_step,
            coding=coding,
        )


def fingerprint(
    model: keras.Model, options: Recovery, rows: Split, zeros: HeldZeros | None, *parts: str
) -> str:
    """The same for trainings that start alike: model, weights, options, rows, and more `parts`."""
    versions = [keras.__version__, tf.__version__, np.__version__]
    said = [str(FORMAT), *versions, model.to_json(), options.model_dump_json(), *parts]
    digest = hashlib.sha256("\n".join(said).encode())
    digest.update(rows.rows.tobytes())
    for variable in model.variables:
        digest.update(np.ascontiguousarray(variable.numpy()).tobytes())
    for mask in zeros.masks.values() if zeros else ():
        digest.update(mask.tobytes())
    return digest.hexdigest()


def state_of(
    course: Course,
    variables: Sequence[Any],
    zeros: HeldZeros | None,
    others: Mapping[int, Sequence[Array]],
) -> State:
    """Everything a training goes on from.

    `variables` are those of model and optimizer; `others` what each other process that shares the
    training has of its own, by its rank.
    """
    arrays = {f"variable/{index}": value.numpy() for index, value in enumerate(variables)}
    arrays |= {f"best/{index}": value for index, value in enumerate(course.best.weights)}
    if zeros:
        arrays |= {f"mask/{name}": mask for name, mask in zeros.masks.items()}
    for rank, values in others.items():
        arrays |= {f"other/{rank}/{index}": value for index, value in enumerate(values)}
    facts = {
        "steps_done": course.steps_done,
        "seen": course.seen,
        "loss_sum": course.loss_sum,
        "epochs": [_plain_epoch(epoch) for epoch in course.epochs],
        "best": [course.best.rank, course.best.epoch, course.best.improved, course.best.peak],
        "stopped": course.stopped,
        "warnings": course.warnings,
    }
    return State(arrays, facts)


def restored(state: State, variables: Sequence[Any], zeros: HeldZeros | None) -> Course:
    """The course as it was; `variables` and `zeros` are given the values they had."""
    if zeros:
        zeros.change(dict(_under("mask/", state.arrays)))
    for index, variable in enumerate(variables):
        variable.assign(state.arrays[f"variable/{index}"])
    facts = state.facts
    rank, epoch, improved, peak = facts["best"]
    weights = [value for _, value in _under("best/", state.arrays)]
    return Course(
        steps_done=facts["steps_done"],
        seen=facts["seen"],
        loss_sum=facts["loss_sum"],
        epochs=[_epoch(plain) for plain in facts["epochs"]],
        best=Best(rank, epoch, improved, peak, weights),
        stopped=facts["stopped"],
        warnings=list(facts["warnings"]),
    )


def states_of_others(state: State) -> dict[int, list[Array]]:
    """What `state_of` was given as `others`."""
    found: dict[int, list[Array]] = {}
    for name, values in _under("other/", state.arrays):
        found.setdefault(int(name.partition("/")[0]), []).append(values)
    return found


def _under(prefix: str, arrays: Mapping[str, Array]) -> Iterable[tuple[str, Array]]:
    for name, values in arrays.items():
        if name.startswith(prefix):
            yield name.removeprefix(prefix), values


def _plain_epoch(epoch: Epoch) -> dict[str, Any]:
    heads = epoch.validation.heads if epoch.validation else None
    return {
        "train_loss": epoch.train_loss,
        "heads": None if heads is None else [head.model_dump(mode="json") for head in heads],
    }


def _epoch(plain: Mapping[str, Any]) -> Epoch:
    if plain["heads"] is None:
        return Epoch(plain["train_loss"], None)
    heads = tuple(HeadMeasurement.model_validate(head) for head in plain["heads"])
    return Epoch(plain["train_loss"], summary(heads))
