"""Figures of a model on labelled rows."""

import tracemalloc
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.builders import branched_model, context_for, dense_model, outputs_of
from worker.engine.training.evaluation import evaluate


def test_evaluate_equals_what_keras_says(tmp_path: Path) -> None:
    model = dense_model()
    context = context_for(model, tmp_path)
    assert context.data is not None
    test = context.data.test

    figures = evaluate(model, test, context.tasks, context.check_cancelled)

    probabilities = outputs_of(model, test.take(len(test)))[0]
    labels = test.labels["classes"]
    assert figures.accuracy == pytest.approx((probabilities.argmax(axis=1) == labels).mean())
    loss = keras.losses.sparse_categorical_crossentropy(labels, probabilities)
    assert figures.loss == pytest.approx(float(np.mean(loss)), rel=1e-5)
    assert figures.score == figures.accuracy


def test_evaluate_holds_one_batch_however_many_rows_there_are(tmp_path: Path) -> None:
    """Answers of all rows, 60 MiB in float32, would be seen here."""
    model = dense_model(units=400)
    context = context_for(model, tmp_path)
    assert context.data is not None
    few = context.data.test
    rows = few.select(np.resize(np.arange(len(few)), 40_000))
    evaluate(model, few, context.tasks, context.check_cancelled)
    tracemalloc.start()

    evaluate(model, rows, context.tasks, context.check_cancelled)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


def test_evaluate_keeps_classes_and_values_of_several_outputs_apart(tmp_path: Path) -> None:
    model = branched_model()
    context = context_for(model, tmp_path)
    assert context.data is not None

    figures = evaluate(model, context.data.test, context.tasks, context.check_cancelled)

    kind, amount = figures.heads
    assert (figures.accuracy, figures.mse) == (kind.accuracy, amount.mse)
    assert figures.loss == pytest.approx((kind.loss or 0) + (amount.loss or 0))


def test_evaluate_is_judged_by_r2_when_nothing_is_classified(tmp_path: Path) -> None:
    model = dense_model(activation="linear", units=1)
    context = context_for(model, tmp_path)
    assert context.data is not None

    figures = evaluate(model, context.data.test, context.tasks, context.check_cancelled)

    assert figures.accuracy is None
    assert figures.score == figures.r2
