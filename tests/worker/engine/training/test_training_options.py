"""What the options of a training do to it: when it ends, in what type it computes, on what rows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from app.errors import TrainingDiverged
from app.recipes.losses import FITTING_LOSSES
from app.recipes.steps.recovery import Recovery
from app.recipes.task import TaskKind
from tests.builders import MODELS, context_for, conv_model, dense_model, nested_model, randomized
from worker.engine.surgery.weights import leaves, named_weights
from worker.engine.training.history import TrainingHistory
from worker.engine.training.interventions import Interventions
from worker.engine.training.precision import computing_in
from worker.engine.training.trainer import train
from worker.engine.training.zeros import HeldZeros


def trained(
    model: Any, folder: Path, options: dict[str, Any], **interventions: Any
) -> TrainingHistory:
    quick = {"epochs": 2, "learning_rate": 0.02, "batch_size": 20}
    return train(
        model,
        context_for(model, folder),
        Recovery.model_validate(quick | options),
        Interventions(**interventions),
    )


def test_train_stops_once_nothing_became_better(tmp_path: Path) -> None:
    """Nothing moves at this rate: the first epoch is the best, two more are as good."""
    history = trained(
        dense_model(),
        tmp_path,
        {"epochs": 9, "learning_rate": 1e-9, "early_stopping_patience": 2},
    )

    assert (len(history.epochs), history.stopped) == (3, "early")
    assert history.facts()["stopped"] == "early"


def test_train_waits_for_the_epochs_that_count_before_it_stops(tmp_path: Path) -> None:
    history = trained(
        dense_model(),
        tmp_path,
        {"epochs": 9, "learning_rate": 1e-9, "early_stopping_patience": 2},
        counts_from=20,
    )

    assert (len(history.epochs), history.kept_epoch) == (6, 6)


def test_train_that_goes_to_its_end_was_not_stopped(tmp_path: Path) -> None:
    history = trained(
        dense_model(),
        tmp_path,
        {"epochs": 3, "learning_rate": 1e-9, "early_stopping_patience": 2},
    )

    assert (len(history.epochs), history.stopped) == (3, None)


def poisoned(model: Any, at: int) -> Any:
    """Makes a weight NaN once so many steps are done."""
    kernel = model.layers[-1].kernel

    def poison(steps_done: int) -> None:
        if steps_done == at:
            kernel.assign(np.full(kernel.shape, np.nan))

    return poison


@pytest.mark.parametrize("validation_fraction", [0.0, 0.2])
def test_train_that_diverges_keeps_the_best_epoch_before(
    validation_fraction: float, tmp_path: Path
) -> None:
    model, shorter = dense_model(), dense_model()
    options = {"validation_fraction": validation_fraction, "schedule": "constant"}
    trained(shorter, tmp_path, options)

    history = trained(model, tmp_path, options | {"epochs": 5}, after_step=poisoned(model, 11))

    assert history.stopped == "training_diverged"
    assert len(history.epochs) == 2
    if history.kept_epoch == 2:
        np.testing.assert_array_equal(model.get_weights()[0], shorter.get_weights()[0])
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    (warning,) = history.warnings
    assert "the loss became nan at optimizer step 12 of 25" in warning or validation_fraction
    assert f"those of epoch {history.kept_epoch} of 5" in warning
    assert "Lower learning_rate (it was 0.02)" in warning


def test_train_that_diverges_before_an_epoch_counts_fails(tmp_path: Path) -> None:
    model = dense_model()

    with pytest.raises(TrainingDiverged):
        trained(model, tmp_path, {"epochs": 5}, after_step=poisoned(model, 11), counts_from=11)


@pytest.mark.parametrize("loss", sorted(FITTING_LOSSES[TaskKind.CLASSIFICATION]))
def test_train_learns_by_every_loss_of_classes(loss: str, tmp_path: Path) -> None:
    epochs = trained(dense_model(), tmp_path, {"epochs": 6, "loss": loss}).epochs

    assert epochs[-1].train_loss < epochs[0].train_loss


def test_train_weighs_classes(tmp_path: Path) -> None:
    """With all weight on one class, everything is taken for it."""
    model = dense_model()
    context = context_for(model, tmp_path)
    assert context.data is not None

    trained(model, tmp_path, {"epochs": 20, "class_weights": {"0": 0.0, "1": 0.0, "2": 1.0}})

    answers = model.predict(context.data.train.take(50)["features"], verbose=0)
    assert (answers.argmax(axis=1) == 2).all()


def test_train_varies_images_only_where_it_is_told(tmp_path: Path) -> None:
    plain, varied, again = (randomized(conv_model()) for _ in range(3))

    trained(plain, tmp_path, {})
    trained(varied, tmp_path, {"augmentation": {"shift": 0.3}})
    trained(again, tmp_path, {"augmentation": {"shift": 0.3}})

    assert not np.array_equal(plain.get_weights()[0], varied.get_weights()[0])
    np.testing.assert_array_equal(varied.get_weights()[0], again.get_weights()[0])


def test_train_says_that_teachers_are_asked_anew_for_varied_images(tmp_path: Path) -> None:
    options = {"augmentation": {"flip": "horizontal"}, "distill": True}

    (warning,) = trained(conv_model(), tmp_path, options).warnings

    assert "teachers ran on each batch" in warning
    assert not (tmp_path / "teachers").exists()


def policies(model: Any) -> dict[str, str]:
    return {leaf.name: leaf.layer.dtype_policy.name for leaf in leaves(model)}


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("kind", sorted(MODELS))
def test_train_in_half_the_bits_learns_and_leaves_a_float32_model(
    kind: str, dtype: str, tmp_path: Path
) -> None:
    model = MODELS[kind]()
    before = policies(model)

    history = trained(model, tmp_path, {"epochs": 6, "dtype": dtype})

    assert history.epochs[-1].train_loss < history.epochs[0].train_loss
    assert policies(model) == before
    assert {weight.dtype for weight in model.trainable_weights} == {"float32"}
    assert dtype in history.warnings[0]


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_train_in_half_the_bits_is_not_the_training_in_float32(dtype: str, tmp_path: Path) -> None:
    weights = []
    for chosen in ("float32", dtype):
        model = randomized(conv_model())
        trained(model, tmp_path, {"dtype": chosen})
        weights.append(model.get_weights()[0])
    exact, rounded = weights

    assert not np.array_equal(exact, rounded)
    np.testing.assert_allclose(rounded, exact, atol=0.05)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("optimizer", ["adamw", "lion"])
def test_train_holds_zeros_with_weight_decay_in_every_type(
    optimizer: str, dtype: str, tmp_path: Path
) -> None:
    model = randomized(dense_model())
    mask = np.random.default_rng(0).random((4, 8)) > 0.5
    zeros = HeldZeros(model, {"hidden/kernel": mask})
    options = {"optimizer": optimizer, "weight_decay": 0.1, "dtype": dtype}

    trained(model, tmp_path, options, zeros=zeros)

    kernel = named_weights(model)["hidden/kernel"].numpy()
    assert not kernel[~mask].any()
    assert kernel[mask].all()


def computing_types(model: Any, dtype: str) -> Iterator[tuple[str, str]]:
    with computing_in(model, dtype):
        for leaf in leaves(model):
            yield leaf.name, leaf.layer.dtype_policy.compute_dtype


def test_hidden_layers_compute_in_half_the_bits_and_the_last_do_not() -> None:
    assert dict(computing_types(nested_model(), "mixed_float16")) == {
        "features": "float16",
        "backbone/inside": "float16",
        "backbone/inner": "float16",
        "classes": "float32",
    }


def test_layers_whose_author_chose_a_type_keep_it() -> None:
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Rescaling(0.5, name="scaled"),
            keras.layers.Dense(3, dtype="float64", name="exact"),
            keras.layers.Dense(3, name="hidden"),
            keras.layers.Dense(3, name="last"),
        ]
    )

    types = dict(computing_types(model, "mixed_bfloat16"))

    assert types == {
        "scaled": "float32",
        "exact": "float64",
        "hidden": "bfloat16",
        "last": "float32",
    }
