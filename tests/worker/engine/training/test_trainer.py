"""The training loop: it learns, repeats itself, keeps zeros, and stops when it must."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from app.errors import Cancelled, StepFailed
from app.recipes.steps.recovery import Recovery
from app.recipes.task import TaskKind
from app.reports.report import HeadMeasurement
from tests.builders import (
    MODELS,
    branched_model,
    context_for,
    conv_model,
    dense_model,
    embedding_model,
    randomized,
)
from worker.engine.context import StepContext
from worker.engine.surgery.cloning import clone_with_weights
from worker.engine.surgery.weights import named_weights
from worker.engine.training.evaluation import Evaluation, evaluate, summary
from worker.engine.training.history import Best, TrainingHistory, rank_of
from worker.engine.training.interventions import Interventions
from worker.engine.training.trainer import train
from worker.engine.training.zeros import HeldZeros

QUICK = Recovery(epochs=2, learning_rate=0.02, batch_size=20)


def accurate(accuracy: float, *others: HeadMeasurement) -> Evaluation:
    """Of an output with classes, whose loss is 0.3, and of others."""
    classes = {"output": "kind", "task": TaskKind.CLASSIFICATION, "loss": 0.3}
    nothing = dict.fromkeys(("mse", "mae", "r2"))
    head = HeadMeasurement.model_validate(classes | nothing | {"accuracy": accuracy})
    return summary((head, *others))


def trained(
    model: Any, context: StepContext, options: Recovery = QUICK, **interventions: Any
) -> TrainingHistory:
    return train(model, context, options, Interventions(**interventions))


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_train_lowers_the_loss_of(kind: str, tmp_path: Path) -> None:
    model = MODELS[kind]()
    options = Recovery(epochs=6, learning_rate=0.02, batch_size=20)

    epochs = trained(model, context_for(model, tmp_path), options).epochs

    assert epochs[-1].train_loss < epochs[0].train_loss


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop", "nadam"])
def test_train_runs_every_optimizer(optimizer: str, tmp_path: Path) -> None:
    model = dense_model()
    before = model.get_weights()
    options = Recovery.model_validate({"optimizer": optimizer, "epochs": 1})

    trained(model, context_for(model, tmp_path), options)

    assert not np.array_equal(model.get_weights()[0], before[0])


@pytest.mark.parametrize("make", [conv_model, branched_model, embedding_model])
def test_train_gives_the_same_weights_for_the_same_seed(make: Any, tmp_path: Path) -> None:
    first, again, other = make(), make(), make()

    trained(first, context_for(first, tmp_path, seed=1))
    trained(again, context_for(again, tmp_path, seed=1))
    trained(other, context_for(other, tmp_path, seed=2))

    for one, same in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, same)
    assert not np.array_equal(first.get_weights()[0], other.get_weights()[0])


def test_train_repeats_dropout_for_the_same_seed(tmp_path: Path) -> None:
    runs = []
    for _ in range(2):
        layers = dense_model().layers
        model = keras.Sequential(
            [keras.Input((4,)), layers[0], keras.layers.Dropout(0.5), layers[1]]
        )
        trained(model, context_for(model, tmp_path))
        runs.append(model.get_weights()[0])

    np.testing.assert_array_equal(runs[0], runs[1])


def test_train_counts_steps_with_a_last_smaller_batch(tmp_path: Path) -> None:
    model = dense_model()
    context = context_for(model, tmp_path)
    rows, _ = context.divided(QUICK.validation_fraction)
    seen: list[int] = []

    history = trained(model, context, after_step=seen.append)

    steps = 2 * -(-len(rows) // 20)
    assert len(rows) % 20 != 0
    assert history.optimizer_steps == steps
    assert seen == list(range(steps + 1))


def test_train_holds_zeros_exactly_after_every_step(tmp_path: Path) -> None:
    model = randomized(dense_model())
    mask = np.random.default_rng(0).random((4, 8)) > 0.5
    zeros = HeldZeros(model, {"hidden/kernel": mask})
    zeros.change({"hidden/kernel": mask})
    kernel = named_weights(model)["hidden/kernel"]
    kept: list[bool] = []

    trained(
        model,
        context_for(model, tmp_path),
        zeros=zeros,
        after_step=lambda _: kept.append(not kernel.numpy()[~mask].any()),
    )

    assert all(kept)
    assert kernel.numpy()[mask].all()


def test_train_leaves_positive_zeros_only(tmp_path: Path) -> None:
    model = randomized(dense_model())
    mask = np.zeros((4, 8), np.bool_)
    zeros = HeldZeros(model, {"hidden/kernel": mask})
    zeros.hold()

    trained(model, context_for(model, tmp_path), zeros=zeros)

    assert not np.signbit(named_weights(model)["hidden/kernel"].numpy()).any()


def test_train_keeps_the_weights_of_the_best_epoch(tmp_path: Path) -> None:
    model = dense_model()
    context = context_for(model, tmp_path)
    options = Recovery(epochs=5, learning_rate=0.5, batch_size=20, validation_fraction=0.3)

    history = trained(model, context, options)

    validation = context.divided(0.3)[1]
    assert validation is not None
    best = max(epoch.validation.accuracy or 0 for epoch in history.epochs if epoch.validation)
    assert evaluate(model, validation, context.tasks, context.check_cancelled).accuracy == best


def test_train_keeps_the_later_of_equal_epochs(tmp_path: Path) -> None:
    model = dense_model()
    options = Recovery(epochs=3, learning_rate=1e-9, batch_size=20)

    assert trained(model, context_for(model, tmp_path), options).kept_epoch == 3


def test_train_never_keeps_an_epoch_before_it_counts(tmp_path: Path) -> None:
    model = dense_model()
    options = Recovery(epochs=3, learning_rate=0.02, batch_size=1000, optimizer="sgd")
    kernel = named_weights(model)["classes/kernel"]

    def spoil(steps_done: int) -> None:
        if steps_done == 2:
            kernel.assign(-10 * kernel)

    history = trained(model, context_for(model, tmp_path), options, after_step=spoil, counts_from=2)

    assert history.kept_epoch >= 2


def test_train_keeps_the_last_epoch_when_nothing_is_set_aside(tmp_path: Path) -> None:
    model = dense_model()

    history = trained(
        model, context_for(model, tmp_path), Recovery(epochs=2, validation_fraction=0)
    )

    assert history.kept_epoch == 2
    assert [epoch.validation for epoch in history.epochs] == [None, None]


def test_train_updates_the_statistics_of_normalizations_within_a_short_run(
    tmp_path: Path,
) -> None:
    model = conv_model()
    norm = model.get_layer("norm")
    norm.moving_mean.assign(np.full(4, 100.0))
    options = Recovery(epochs=5, batch_size=10)

    trained(model, context_for(model, tmp_path), options)

    # 45 steps at Keras' momentum of 0.99 would leave 64 of the 100.
    assert np.abs(norm.moving_mean.numpy()).max() < 1
    assert norm.momentum == 0.99


def test_train_adds_the_penalties_of_regularizers(tmp_path: Path) -> None:
    weights = []
    for regularizer in (None, keras.regularizers.L2(1.0)):
        model = dense_model()
        model.get_layer("hidden").kernel_regularizer = regularizer
        model = clone_with_weights(model)
        trained(
            model,
            context_for(model, tmp_path),
            Recovery(epochs=8, learning_rate=0.02, batch_size=10),
        )
        weights.append(np.abs(named_weights(model)["hidden/kernel"].numpy()).mean())

    assert weights[1] < 0.5 * weights[0]


def test_train_reports_progress_that_grows_to_one(tmp_path: Path) -> None:
    model = dense_model()
    heard: list[tuple[float, dict[str, float]]] = []
    context = replace(
        context_for(model, tmp_path),
        report_progress=lambda fraction, message, **metrics: heard.append((fraction, metrics)),
    )

    trained(model, context)

    fractions = [fraction for fraction, _ in heard]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert all("loss" in metrics for _, metrics in heard)


def test_train_stops_at_the_next_batch_when_cancelled(tmp_path: Path) -> None:
    model = dense_model()
    steps: list[int] = []

    def cancelled() -> None:
        if steps[-1] == 3:
            raise Cancelled("the job was asked to stop")

    context = replace(context_for(model, tmp_path), check_cancelled=cancelled)

    with pytest.raises(Cancelled):
        trained(model, context, after_step=steps.append)

    assert steps[-1] == 3


def test_train_that_diverges_at_once_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    model = dense_model(activation="linear", units=1)
    model.get_layer("hidden").kernel.assign(np.full((4, 8), 1e30))
    before = model.get_weights()

    history = trained(model, context_for(model, tmp_path))

    assert (history.stopped, history.kept_epoch) == ("training_diverged", 0)
    assert history.epochs == ()
    (warning,) = history.warnings
    assert "(training_diverged): the loss became inf at optimizer step 1 of 10" in warning
    assert "The weights are those from before this training" in warning
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_train_says_so_when_the_last_update_ruins_the_weights(tmp_path: Path) -> None:
    model = dense_model(activation="linear", units=1)
    # A small output of large features: the loss is finite, its gradient is not.
    model.get_layer("hidden").kernel.assign(np.full((4, 8), 1e25))
    model.get_layer("classes").kernel.assign(np.full((8, 1), 1e-10))
    only_step = Recovery(
        epochs=1, learning_rate=10, batch_size=1000, optimizer="sgd", validation_fraction=0
    )

    (warning,) = trained(model, context_for(model, tmp_path), only_step).warnings

    assert "weights became NaN or infinite at optimizer step 1 of 1" in warning
    assert "Lower learning_rate (it was 10)" in warning
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_train_that_only_makes_a_model_worse_gives_it_back(tmp_path: Path) -> None:
    model = dense_model()
    context = context_for(model, tmp_path)
    trained(model, context, Recovery(epochs=40, learning_rate=0.05, validation_fraction=0.3))
    before = model.get_weights()
    harmful = Recovery(epochs=2, learning_rate=10, optimizer="sgd", validation_fraction=0.3)

    history = trained(model, context, harmful)

    assert history.before is not None
    assert (history.kept_epoch, history.stopped) == (0, None)
    assert history.kept_score == history.before.score
    (warning,) = history.warnings
    assert warning.startswith("Training made the model worse than it started (accuracy ")
    assert f"{history.before.score:.4g} -> " in warning
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_train_stops_early_by_its_own_epochs_not_by_the_start() -> None:
    """The second epoch is better than the first, though both are worse than the start."""
    best = Best()
    for number, accuracy in enumerate((0.9, 0.5, 0.6)):
        best.offer(number, accurate(accuracy), dense_model().weights)

    assert (best.epoch, best.improved) == (0, 2)
    assert not best.is_stale(2, patience=1)
    assert best.is_stale(3, patience=1)


def test_epochs_of_classes_and_values_are_ranked_by_their_loss() -> None:
    """Accuracy says nothing of an output that gives values."""
    values = {"output": "amount", "task": TaskKind.REGRESSION, "accuracy": None, "mae": 1.0}
    poor = HeadMeasurement.model_validate(values | {"loss": 9.0, "mse": 9.0, "r2": -5.0})
    good = HeadMeasurement.model_validate(values | {"loss": 0.1, "mse": 0.1, "r2": 0.9})

    assert rank_of(accurate(0.9)) > rank_of(accurate(0.89))
    assert rank_of(accurate(0.9, poor)) < rank_of(accurate(0.89, good))


def test_train_refuses_a_model_that_is_frozen(tmp_path: Path) -> None:
    model = dense_model()
    model.trainable = False

    with pytest.raises(StepFailed, match="every weight of the model is frozen"):
        trained(model, context_for(model, tmp_path))
