"""Progress only grows, errors know their stage, a cancel is heard."""

from pathlib import Path

import pytest

from app.errors import Cancelled, StepFailed
from worker.engine.order import Event
from worker.engine.progress import Progress


class Seconds:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def progress_of(tmp_path: Path) -> tuple[Progress, list[Event], Seconds]:
    heard: list[Event] = []
    clock = Seconds()
    weights = {"loading": 1.0, "training": 3.0}
    return Progress(heard.append, tmp_path / "cancel", weights, clock), heard, clock


def test_phase_starts_where_the_ones_before_it_end(tmp_path: Path) -> None:
    progress, heard, _ = progress_of(tmp_path)
    with progress.phase("loading"):
        pass
    with progress.phase("training"):
        progress.report(0.5, "half way")
    assert [(event.event, event.phase, event.progress) for event in heard] == [
        ("phase", "loading", 0.0),
        ("phase", "training", 0.25),
        ("progress", "training", 0.625),
    ]


def test_report_never_goes_back(tmp_path: Path) -> None:
    progress, heard, clock = progress_of(tmp_path)
    with progress.phase("training"):
        for fraction in (0.8, 0.1, 2.0):
            clock.now += 1
            progress.report(fraction, "")
    assert [event.progress for event in heard[1:]] == pytest.approx([0.85, 0.85, 1.0])


def test_report_passes_on_a_few_a_second(tmp_path: Path) -> None:
    progress, heard, clock = progress_of(tmp_path)
    with progress.phase("training"):
        for batch in range(100):
            clock.now += 0.01
            progress.report(batch / 100, "training", loss=0.5)
    metrics = [event for event in heard if event.event == "metrics"]
    assert 4 <= len(metrics) <= 6
    assert metrics[0].data == {"loss": 0.5}


def test_phase_names_the_stage_of_an_error(tmp_path: Path) -> None:
    progress, _, _ = progress_of(tmp_path)
    with pytest.raises(StepFailed) as raised, progress.phase("training"):
        raise StepFailed("it did")
    assert raised.value.stage == "training"


def test_phase_does_not_start_when_the_job_is_cancelled(tmp_path: Path) -> None:
    progress, heard, _ = progress_of(tmp_path)
    (tmp_path / "cancel").touch()
    with pytest.raises(Cancelled), progress.phase("loading"):
        pytest.fail("it started")
    assert heard == []
