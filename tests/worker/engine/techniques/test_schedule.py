"""When a gradual pruning is due, and how far it goes."""

import pytest

from tests.builders import step
from worker.engine.techniques.magnitude_pruning import schedule_of


def test_schedule_grows_along_the_cubic_of_zhu_and_gupta() -> None:
    given = step(
        "magnitude_pruning", sparsity=0.8, schedule="polynomial", initial_sparsity=0.2,
        begin_step=10, end_step=30, frequency=5,
    )  # fmt: skip

    schedule = schedule_of(given, 100)

    assert [t for t in range(101) if schedule.is_due(t)] == [10, 15, 20, 25, 30]
    assert schedule.sparsity_at(10) == pytest.approx(0.2)
    assert schedule.sparsity_at(20) == pytest.approx(0.8 - 0.6 * 0.5**3)
    assert schedule.sparsity_at(30) == 0.8


def test_schedule_ends_at_60_percent_with_50_updates_when_nothing_is_said() -> None:
    schedule = schedule_of(step("magnitude_pruning", sparsity=0.8, schedule="polynomial"), 1000)

    assert (schedule.end_step, schedule.frequency) == (600, 12)


def test_schedule_reaches_its_end_within_a_training_shorter_than_planned() -> None:
    given = step("magnitude_pruning", sparsity=0.8, schedule="polynomial", end_step=500)

    assert schedule_of(given, 100).end_step == 100


def test_schedule_prunes_once_at_its_begin_when_constant() -> None:
    given = step("magnitude_pruning", sparsity=0.8, schedule="constant", begin_step=7)
    schedule = schedule_of(given, 100)

    assert [(t, schedule.sparsity_at(t)) for t in range(101) if schedule.is_due(t)] == [(7, 0.8)]
