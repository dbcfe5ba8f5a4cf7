"""Which trainings are refused before anything runs: by themselves, and on a model with its data."""

from typing import Any

import pytest
from pydantic import ValidationError

from app.recipes.facts import Head, LabelArray, TensorSpec
from app.recipes.recipe import Recipe
from app.recipes.steps.base import Given
from app.recipes.steps.fine_tuning import FineTuning
from app.recipes.steps.recovery import Recovery
from app.recipes.task import understand
from app.recipes.training import training_complaints
from tests.app.recipes.test_check import classifier, digits


def labels(**changes: Any) -> LabelArray:
    facts = {
        "name": "y",
        "shape": (),
        "dtype": "float32",
        "encoding": "real",
        "class_count": None,
        "minimum": 0.0,
        "maximum": 9.0,
    }
    return LabelArray.model_validate(facts | changes)


def complaints_of(
    training: dict[str, Any], output: LabelArray | None = None, *, in_recovery: bool = False
) -> list[tuple[str, str]]:
    """Of ten classes of pictures, or of one value where `output` holds real numbers."""
    step = {"technique": "fine_tuning", **training}
    if in_recovery:
        step = {"technique": "magnitude_pruning", "sparsity": 0.5, "recovery": training}
    model, dataset = classifier(), digits()
    if output is not None:
        units = output.shape[-1] if output.shape else 1
        head = Head(
            output="y", shape=(units,), activation="linear", units=units, compiled_loss="regression"
        )
        model, dataset = classifier(heads=(head,)), digits(labels=(output,))
    task = understand(model.heads[0], dataset.labels[0])
    found = training_complaints(
        Recipe.model_validate({"steps": [step]}), Given(model, dataset), (task,)
    )
    return [(complaint.pointer, complaint.detail) for complaint in found]


@pytest.mark.parametrize(
    ("training", "pointer", "says"),
    [
        ({"loss": "hinge"}, "loss", "hinge does not fit output 'logits' (classification)"),
        ({"loss": "poisson"}, "loss", "Allowed: auto, categorical_crossentropy, "),
        ({"class_weights": {"3": 1, "10": 2}}, "class_weights", "there is no class 10"),
        (
            {"distill": True, "gradient_quantization": {"workers": 2}},
            "gradient_quantization/workers",
            "cannot be divided over 2 processes: what teachers say",
        ),
        # 900 rows in batches of 64: 15 steps in each of 2 epochs.
        ({"warmup_steps": 30}, "warmup_steps", "the training has only 30 optimizer steps"),
    ],
)
@pytest.mark.parametrize("in_recovery", [False, True])
def test_training_that_does_not_fit_classes_is_refused(
    training: dict[str, Any], pointer: str, says: str, in_recovery: bool
) -> None:
    place = "/recovery" if in_recovery else ""

    [(found, detail)] = complaints_of(training, in_recovery=in_recovery)

    assert found == f"/recipe/steps/0{place}/{pointer}"
    assert says in detail


@pytest.mark.parametrize(
    ("training", "output", "says"),
    [
        ({"loss": "dice"}, labels(), "dice does not fit output 'y' (regression)"),
        ({"loss": "poisson"}, labels(minimum=-2.5), "takes no negative values"),
        ({"loss": "cosine_similarity"}, labels(), "compares directions"),
        ({"class_weights": "balanced"}, labels(), "no output chooses one class"),
        ({"label_smoothing": 0.1}, labels(), "every output predicts values"),
    ],
)
def test_training_that_does_not_fit_values_is_refused(
    training: dict[str, Any], output: LabelArray, says: str
) -> None:
    [(_, detail)] = complaints_of(training, output)

    assert says in detail


@pytest.mark.parametrize(
    "training",
    [
        {},
        {"loss": "categorical_focal_crossentropy", "label_smoothing": 0.1},
        {"loss": "dice"},
        {"class_weights": "balanced", "warmup_steps": 29},
        {"class_weights": {"0": 0.5, "9": 2.0}},
        {"augmentation": {"shift": 0.1, "flip": "horizontal"}},
    ],
)
def test_training_that_fits_is_not_complained_of(training: dict[str, Any]) -> None:
    assert complaints_of(training) == []


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("mse", "mean_squared_error"),
        ("MAE", "mean_absolute_error"),
        ("mape", "mean_absolute_percentage_error"),
        ("msle", "mean_squared_logarithmic_error"),
        ("bce", "binary_crossentropy"),
        ("kld", "kl_divergence"),
        ("logcosh", "log_cosh"),
        ("huber", "huber"),
    ],
)
def test_losses_are_known_by_what_keras_calls_them_for_short(short: str, full: str) -> None:
    assert Recovery.model_validate({"loss": short}).model_dump()["loss"] == full


@pytest.mark.parametrize("loss", ["mean_square", 3, None])
def test_unknown_losses_are_refused_with_what_is_allowed(loss: Any) -> None:
    with pytest.raises(ValueError, match="Input should be 'auto'"):
        Recovery.model_validate({"loss": loss})


def test_poisson_and_cosine_take_what_fits_them() -> None:
    assert complaints_of({"loss": "poisson"}, labels()) == []
    assert complaints_of({"loss": "cosine_similarity"}, labels(shape=(3,))) == []


def test_augmentation_needs_images_and_labels_that_stay_true() -> None:
    step = {"technique": "fine_tuning", "augmentation": {"flip": "both"}}
    numbers = (TensorSpec(name="image", shape=(784,), dtype="float32"),)
    masks = labels(shape=(28, 28), dtype="uint8", encoding="integer", class_count=10, name=None)
    mask_head = Head(
        output="logits", shape=(28, 28, 10), activation="linear", units=10, compiled_loss=None
    )
    recipe = Recipe.model_validate({"steps": [step]})
    for model, dataset, says in (
        (classifier(inputs=numbers), digits(), "no input takes images"),
        (classifier(heads=(mask_head,)), digits(labels=(masks,)), "labels for each position"),
    ):
        task = understand(model.heads[0], dataset.labels[0])
        [complaint] = training_complaints(recipe, Given(model, dataset), (task,))
        assert complaint.pointer == "/recipe/steps/0/augmentation"
        assert says in complaint.detail


@pytest.mark.parametrize(
    ("training", "says"),
    [
        ({"early_stopping_patience": 1, "validation_fraction": 0.0}, "needs rows to judge"),
        ({"early_stopping_patience": 2}, "has no effect in 2 epochs"),
        ({"label_smoothing": 0.1, "loss": "huber"}, "label_smoothing has no effect on huber"),
        ({"class_weights": "balanced", "loss": "dice"}, "class_weights have no effect on dice"),
        ({"teacher_model_ids": ["mdl_1"]}, "teacher_model_ids has no effect without distill"),
        ({"temperature": 2.0}, "temperature has no effect without distill"),
        ({"distillation_weight": 0.9}, "distillation_weight has no effect without distill"),
        ({"gradient_clip_norm": 1.0, "gradient_clip_value": 1.0}, "not both"),
        ({"augmentation": {}}, "varies nothing"),
        ({"augmentation": {"shift": 0.6}}, "less than or equal to 0.5"),
        ({"class_weights": {}}, "at least 1 item"),
        ({"class_weights": {"cat": 1.0}}, "should match pattern"),
        ({"class_weights": {"1": -1.0}}, "greater than or equal to 0"),
        ({"warmup_steps": -1}, "greater than or equal to 0"),
        ({"dtype": "float16"}, "Input should be 'float32'"),
        ({"optimizer": "newton"}, "Input should be 'adam'"),
    ],
)
def test_training_with_what_has_no_effect_or_no_sense_is_refused(
    training: dict[str, Any], says: str
) -> None:
    for kind in (Recovery, FineTuning):
        with pytest.raises(ValidationError, match=says):
            kind.model_validate(training)


def test_training_survives_json_with_everything_set() -> None:
    training = Recovery.model_validate(
        {
            "epochs": 9,
            "loss": "binary_focal_crossentropy",
            "optimizer": "lion",
            "weight_decay": 0.01,
            "schedule": "linear",
            "warmup_steps": 10,
            "label_smoothing": 0.1,
            "class_weights": {"0": 1.0, "1": 4.0},
            "gradient_clip_norm": 1.0,
            "dtype": "mixed_bfloat16",
            "augmentation": {"shift": 0.1},
            "early_stopping_patience": 3,
            "distill": True,
            "teacher_model_ids": ["mdl_1"],
            "temperature": 2.0,
            "distillation_weight": 0.9,
        }
    )

    assert Recovery.model_validate_json(training.model_dump_json()) == training
