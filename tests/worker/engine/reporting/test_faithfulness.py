"""Integer files held against the Keras model of the same job."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from app.recipes.task import Task, TaskKind
from tests.app.api.given import a_report
from tests.builders import dense_model, outputs_of, randomized, rows_for
from worker.engine.proving.bench import Measured
from worker.engine.quantizing.fake_quant import Range, with_fake_quantization
from worker.engine.reporting.faithfulness import agreements_with_keras, faithfulness_warnings
from worker.engine.subject import Subject

ROWS = 300
RANGES = dict.fromkeys(("features", "hidden", "classes"), Range(-4.0, 4.0))


def subject_of(model: Any) -> Subject:
    rows = rows_for(model, ROWS)["features"]
    task = Task(
        output="classes",
        kind=TaskKind.CLASSIFICATION,
        output_is="probabilities",
        labels_are="integer",
        class_count=3,
        because="the test says so",
    )
    return cast(
        Subject,
        SimpleNamespace(
            compared=(task,),
            measured_batches=lambda size: (
                {"features": rows[start : start + size]} for start in range(0, ROWS, size)
            ),
        ),
    )


def measured(kind: str, variant: str, outputs: Any) -> Measured:
    file = SimpleNamespace(kind=kind, variant=variant, path=Path(kind))
    return cast(Measured, SimpleNamespace(file=file, outputs=[outputs]))


def test_files_in_integers_are_compared_with_the_model_on_every_row() -> None:
    model = with_fake_quantization(randomized(dense_model()), RANGES)
    subject = subject_of(model)
    own = outputs_of(model, rows_for(model, ROWS))[0]
    other = own.copy()
    # Six rows beyond the first batch are decided otherwise.
    other[-6:] = -own[-6:]
    files = [
        measured("tflite", "int8", other),
        measured("onnx", "mixed", own),
        measured("saved_model", "float32", other),
    ]

    assert agreements_with_keras(subject, model, files) == [1 - 6 / ROWS, 1.0, None]
    with_own = [*files, measured("keras", "float32", other)]
    assert agreements_with_keras(subject, model, with_own)[0] == 1.0


def test_a_model_without_ranges_is_no_measure() -> None:
    model = randomized(dense_model())
    files = [measured("tflite", "int8", np.zeros((ROWS, 3), np.float32))]

    assert agreements_with_keras(subject_of(model), model, files) == [None]


@pytest.mark.parametrize(("agreed", "is_said"), [(None, False), (0.9995, False), (0.95, True)])
def test_too_little_agreement_is_said(agreed: float | None, *, is_said: bool) -> None:
    output = a_report().optimized.model_copy(update={"agreement_with_keras": agreed})

    said = list(faithfulness_warnings([output]))

    assert bool(said) == is_said
    assert all("95.00 % of the rows (19 of 20)" in one for one in said)
