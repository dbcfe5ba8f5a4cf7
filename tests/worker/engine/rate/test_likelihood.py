"""What a bit of log-likelihood is worth in losses of all kinds."""

import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from app.recipes.steps.recovery import Recovery
from tests.builders import MODELS, context_for, dense_model, randomized
from worker.engine.loading.splits import Split
from worker.engine.rate.likelihood import bit_in_loss
from worker.engine.training.prediction import Predictor

pytestmark = pytest.mark.slow


def worth(model: Any, folder: Path, **options: Any) -> float:
    """Of one bit times the rows, in nats."""
    context = context_for(model, folder)
    rows, _ = context.divided(0.0)
    found = bit_in_loss(model, Recovery.model_validate(options), context, rows)
    return found * len(rows) / math.log(2)


def value_model() -> Any:
    return randomized(dense_model(activation="linear", units=1))


def errors_of(model: Any, rows: Split) -> Any:
    (values,) = Predictor(model, rows.columns)(rows.fed(slice(None)))
    return values[:, 0] - rows.labels["classes"]


@pytest.mark.parametrize("kind", ["dense", "conv", "branched", "recurrent"])
def test_a_cross_entropy_is_a_log_likelihood_in_nats(kind: str, tmp_path: Path) -> None:
    assert worth(MODELS[kind](), tmp_path) == pytest.approx(1.0)


def test_a_squared_error_counts_in_twice_the_mean_of_the_given_model(tmp_path: Path) -> None:
    model = value_model()
    context = context_for(model, tmp_path)
    rows, _ = context.divided(0.0)
    errors = errors_of(model, rows)

    assert worth(model, tmp_path) == pytest.approx(2 * np.mean(errors**2), rel=1e-5)


def test_another_loss_counts_in_the_mean_of_the_given_model(tmp_path: Path) -> None:
    model = value_model()
    context = context_for(model, tmp_path)
    rows, _ = context.divided(0.0)
    errors = errors_of(model, rows)

    found = worth(model, tmp_path, loss="mean_absolute_error")

    assert found == pytest.approx(np.mean(np.abs(errors)), rel=1e-5)


def test_a_model_without_errors_still_pays_for_bits(tmp_path: Path) -> None:
    features = keras.Input((4,), name="features")
    mean = keras.layers.Dense(1, kernel_initializer=keras.initializers.Constant(0.25))(features)

    assert worth(keras.Model(features, mean), tmp_path) > 0
