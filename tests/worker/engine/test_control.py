"""How the control is trained."""

from pathlib import Path
from typing import Any

from app.recipes.recipe import Recipe
from app.recipes.steps.fine_tuning import FineTuning
from tests.builders import context_for, dense_model, randomized
from worker.engine.control import trained_alone, training_for_control
from worker.engine.training.evaluation import evaluate


def recipe(*steps: dict[str, Any]) -> Recipe:
    return Recipe.model_validate({"steps": list(steps)})


def test_control_trains_as_long_as_all_steps_together() -> None:
    training = training_for_control(
        recipe(
            {
                "technique": "magnitude_pruning",
                "sparsity": 0.5,
                "recovery": {"epochs": 3, "learning_rate": 0.01, "optimizer": "sgd"},
            },
            {"technique": "fine_tuning", "epochs": 4},
        )
    )
    assert training is not None
    assert (training.epochs, training.learning_rate, training.optimizer) == (7, 0.01, "sgd")


def test_control_learns_from_no_teacher() -> None:
    training = training_for_control(
        recipe(
            {
                "technique": "fine_tuning",
                "distill": True,
                "teacher_model_ids": ["mdl_1"],
                "temperature": 2.0,
                "distillation_weight": 1.0,
            }
        )
    )
    assert training is not None
    assert (training.distill, training.teacher_model_ids) == (False, ())


def test_control_is_not_needed_when_nothing_trains() -> None:
    steps = ({"technique": "magnitude_pruning", "sparsity": 0.5},)
    assert training_for_control(recipe(*steps)) is None


def test_control_is_trained_where_the_upload_was_better(tmp_path: Path) -> None:
    model = randomized(dense_model())
    context = context_for(model, tmp_path)
    learned = trained_alone(FineTuning(epochs=20, learning_rate=0.05), model, context)
    harmful = FineTuning(epochs=1, learning_rate=10.0, optimizer="sgd")

    control = trained_alone(harmful, learned, context)

    validation = context.divided(harmful.validation_fraction)[1]
    assert validation is not None
    scores = [
        evaluate(one, validation, context.tasks, context.check_cancelled).score or 0.0
        for one in (learned, control)
    ]
    assert scores[1] < scores[0]
