"""What structural steps saved, told step by step."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import pytest

from app.errors import ExportFailed
from app.reports.report import StepReport
from tests.builders import conv_model, data_for, never_cancelled
from worker.engine.exporting.source import KerasSource
from worker.engine.loading.models import heads, input_specs
from worker.engine.proving.costs import Costs
from worker.engine.subject import Subject


def narrow_model() -> Any:
    """As `conv_model`, with 2 channels in place of 4."""
    picture = keras.Input((6, 6, 1), name="picture")
    x = keras.layers.Conv2D(2, 3, activation="relu", name="conv")(picture)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(picture, keras.layers.Dense(3, name="logits")(x))


def about(model: Any, folder: Path) -> Subject:
    return Subject(
        model=model,
        content=b"",
        inputs=tuple(input_specs(model)),
        heads=tuple(heads(model, None)),
        data=data_for(model, folder),
        tasks=(),
        seed=0,
    )


def a_report(**known: Any) -> StepReport:
    figures: dict[str, Any] = {
        "technique": "channel_pruning",
        "parameters": {},
        "duration_s": 1.0,
        "accuracy_before": None,
        "accuracy_after_change": None,
        "accuracy_after": None,
        "facts": {},
        "skipped": (),
    }
    return StepReport.model_validate(figures | known)


STRUCTURAL = a_report(parameter_count_before=1, parameter_count_after=1)


class Untraceable(KerasSource):
    """A model that TensorFlow cannot trace."""

    def float32(self) -> bytes:
        raise ExportFailed("no gradient of it, no trace of it")


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    return about(conv_model(), tmp_path)


def test_step_is_told_what_it_saved(subject: Subject, tmp_path: Path) -> None:
    costs = Costs(subject, subject.source(subject.model, tmp_path / "before"), tmp_path)

    before, after = costs.add(narrow_model(), {})
    [report] = costs.with_latencies([STRUCTURAL], never_cancelled)

    # The kernel of 3 x 3, four numbers of each normalization channel, the classes with their bias.
    assert before.parameter_count == 9 * 4 + 4 * 4 + (4 + 1) * 3
    assert after.parameter_count == 10 * 2 + (2 + 1) * 3
    assert (before.macs, after.macs) == (4 * 4 * 9 * 4 + 12, 4 * 4 * 9 * 2 + 6)
    assert report.latency_ms_before is not None
    assert report.latency_ms_after is not None
    assert 0 < report.latency_ms_after < 1
    assert report.latency_obstacle is None


def test_model_between_two_steps_is_measured_once(subject: Subject, tmp_path: Path) -> None:
    costs = Costs(subject, subject.source(subject.model, tmp_path / "before"), tmp_path)
    first, last = narrow_model(), narrow_model()

    _, made = costs.add(first, {})
    found, _ = costs.add(last, {})
    one, other, another = costs.with_latencies(
        [STRUCTURAL, a_report(), STRUCTURAL], never_cancelled
    )

    assert found is made
    assert one.latency_ms_after == another.latency_ms_before
    assert (other.latency_ms_before, other.latency_ms_after) == (None, None)
    assert costs.source_of(last) is not None
    assert costs.source_of(first) is None


def test_reason_is_told_when_a_model_cannot_be_converted(subject: Subject, tmp_path: Path) -> None:
    costs = Costs(subject, Untraceable(subject.model, tmp_path / "before", {}), tmp_path)

    costs.add(narrow_model(), {})
    [report] = costs.with_latencies([STRUCTURAL], never_cancelled)

    assert report.latency_ms_before is None
    assert report.latency_ms_after is not None
    assert report.latency_obstacle == "no gradient of it, no trace of it"


def test_nothing_is_measured_when_no_step_is_structural(subject: Subject, tmp_path: Path) -> None:
    costs = Costs(subject, subject.source(subject.model, tmp_path / "before"), tmp_path)

    assert costs.with_latencies([a_report()], never_cancelled) == (a_report(),)
    assert not (tmp_path / "costs").exists()


def test_lengths_that_a_model_leaves_open_are_those_of_the_data(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((None, 2), name="x"), keras.layers.Conv1D(3, 1)])
    model.add(keras.layers.GlobalAveragePooling1D())
    subject = replace(about(model, tmp_path))
    costs = Costs(subject, subject.source(model, tmp_path / "before"), tmp_path)

    before, _ = costs.add(model, {})

    assert before.macs == 3 * 2 * 3
    assert before.obstacle is None
