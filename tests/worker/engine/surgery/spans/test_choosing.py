"""The order in which spans go, by figures made up here."""

import math
from collections.abc import Sequence

import pytest

from tests.residual import dense_chain
from worker.engine.surgery.spans.choosing import Limits, Remembered, greedy, loss_increases, ranked
from worker.engine.surgery.spans.finding import Span, removable_spans
from worker.engine.training.evaluation import Evaluation

LOSSES = {
    "": 1.0, "0": 1.4, "1": 1.2, "2": 1.3, "01": 1.5, "12": 1.9, "02": 1.6, "012": 3.0
}  # fmt: skip
SCORES = {"": 0.9, "0": 0.8, "1": 0.5, "2": 0.9, "01": 0.5, "12": 0.5, "02": 0.8, "012": 0.1}


@pytest.fixture(scope="module")
def spans() -> tuple[Span, ...]:
    return removable_spans(dense_chain(3)).matching


def without(spans: Sequence[Span]) -> Evaluation:
    key = "".join(sorted(span.name.removeprefix("dense_") for span in spans))
    return Evaluation(SCORES[key], LOSSES[key], None, None, None, ())


def test_greedy_measures_anew_after_each_removal(spans: tuple[Span, ...]) -> None:
    order = [removal.span.name for removal in greedy(spans, without, Limits(count=3))]

    assert order == ["dense_1", "dense_0", "dense_2"]


def test_ranked_keeps_to_what_was_measured_once(spans: tuple[Span, ...]) -> None:
    importance = loss_increases(spans, without, LOSSES[""])

    found = list(ranked(spans, importance, without, Limits(count=2)))

    assert importance == pytest.approx({"dense_0": 0.4, "dense_1": 0.2, "dense_2": 0.3})
    assert [removal.span.name for removal in found] == ["dense_1", "dense_2"]
    assert [removal.without and removal.without.loss for removal in found] == [1.2, 1.9]


def test_ranked_passes_over_what_breaks_the_limit(spans: tuple[Span, ...]) -> None:
    importance = {"dense_1": 0.1, "dense_2": 0.2, "dense_0": 0.3}

    found = ranked(spans, importance, without, Limits(least_score=0.8))

    assert [removal.span.name for removal in found] == ["dense_2", "dense_0"]


def test_greedy_takes_the_least_loss_within_the_limit(spans: tuple[Span, ...]) -> None:
    found = greedy(spans, without, Limits(least_score=0.8))

    assert [removal.span.name for removal in found] == ["dense_2", "dense_0"]


def nothing_known(spans: Sequence[Span]) -> Evaluation:
    return Evaluation(None, math.nan, None, None, None, ())


def test_what_gives_no_numbers_is_below_every_limit(spans: tuple[Span, ...]) -> None:
    assert list(greedy(spans, nothing_known, Limits(least_score=-10.0))) == []


def test_what_has_no_known_importance_goes_last(spans: tuple[Span, ...]) -> None:
    importance = {"dense_0": math.nan, "dense_1": 2.0, "dense_2": 1.0}

    found = ranked(spans, importance, None, Limits(count=3))

    assert [removal.span.name for removal in found] == ["dense_2", "dense_1", "dense_0"]


def test_remembered_tries_each_set_once(spans: tuple[Span, ...]) -> None:
    tried: list[int] = []

    def counted(spans: Sequence[Span]) -> Evaluation:
        tried.append(len(spans))
        return without(spans)

    attempt = Remembered(counted)
    attempt([spans[0], spans[1]])
    again = attempt([spans[1], spans[0]])

    assert tried == [2]
    assert again.loss == LOSSES["01"]
