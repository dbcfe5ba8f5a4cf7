"""Which spans go, and in which order; what is measured comes in as functions."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from worker.engine.surgery.spans.finding import Span
from worker.engine.training.evaluation import Evaluation

# How the model does without these spans.
Try = Callable[[Sequence[Span]], Evaluation]

# Scores are means of floats: as good as the limit is good enough.
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Removal:
    """A span that goes, and how the model does without it and those before it, if measured."""

    span: Span
    without: Evaluation | None


@dataclass(frozen=True)
class Choice:
    """What goes, in this order, and the importance of every candidate by name."""

    importance: Mapping[str, float]
    removals: tuple[Removal, ...]
    before: Evaluation | None = None

    @property
    def spans(self) -> tuple[Span, ...]:
        return tuple(removal.span for removal in self.removals)


@dataclass(frozen=True)
class Limits:
    """When to stop: after so many, or where the score would be below `least_score`."""

    count: int | None = None
    least_score: float | None = None

    def allows(self, evaluation: Evaluation | None) -> bool:
        if self.least_score is None or evaluation is None:
            return True
        # A score that is not known (NaN outputs) is below every limit.
        return evaluation.score is not None and evaluation.score >= self.least_score - TOLERANCE


def loss_increases(candidates: Sequence[Span], attempt: Try, before: float) -> dict[str, float]:
    """By how much the loss grows without each candidate alone."""
    return {span.name: attempt([span]).loss - before for span in candidates}


def ranked(
    candidates: Sequence[Span],
    importance: Mapping[str, float],
    attempt: Try | None,
    limits: Limits,
) -> Iterator[Removal]:
    """The least important first, each importance measured once; what breaks a limit is passed over.

    That one span is too much does not say that the next one is.
    """
    taken: list[Span] = []
    for span in sorted(candidates, key=lambda one: _order(importance[one.name])):
        if len(taken) == limits.count:
            return
        if any(span.lies_in(one) for one in taken):
            continue
        without = attempt([*taken, span]) if attempt else None
        if limits.allows(without):
            taken.append(span)
            yield Removal(span, without)


def greedy(candidates: Sequence[Span], attempt: Try, limits: Limits) -> Iterator[Removal]:
    """One after another, each time the one without which the loss is least, within the limits."""
    taken: list[Span] = []
    while len(taken) != limits.count:
        left = [span for span in candidates if not any(span.lies_in(one) for one in taken)]
        tried = [Removal(span, attempt([*taken, span])) for span in left]
        fitting = [removal for removal in tried if limits.allows(removal.without)]
        if not fitting:
            return
        best = min(fitting, key=_loss)
        taken.append(best.span)
        yield best


@dataclass
class Remembered:
    """Tries each set of spans once: the first round of a greedy choice gives the importance too."""

    attempt: Try
    known: dict[frozenset[str], Evaluation] = field(default_factory=dict)

    def __call__(self, spans: Sequence[Span]) -> Evaluation:
        names = frozenset(span.name for span in spans)
        if names not in self.known:
            self.known[names] = self.attempt(spans)
        return self.known[names]


def _loss(removal: Removal) -> float:
    return _order(removal.without.loss if removal.without else 0.0)


def _order(figure: float) -> float:
    """NaN goes last."""
    return math.inf if math.isnan(figure) else figure
