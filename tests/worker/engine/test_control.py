"""How the control is trained."""

from typing import Any

from app.recipes.recipe import Recipe
from worker.engine.control import training_for_control


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
