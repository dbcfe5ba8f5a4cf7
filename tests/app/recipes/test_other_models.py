"""What is asked of the other models that a recipe names."""

import pytest

from app.errors import Complaint
from app.recipes.check import ImpossibleRecipe, check
from app.recipes.constraints import Constraints
from app.recipes.facts import ModelFacts, ModelFormat
from app.recipes.steps.base import Given
from tests.app.recipes.test_check import classifier, digits, recipe

TAUGHT = {"technique": "fine_tuning", "distill": True, "teacher_model_ids": ["mdl_t"]}
PRUNED = {
    "technique": "magnitude_pruning",
    "sparsity": 0.5,
    "recovery": {"distill": True, "teacher_model_ids": ["mdl_a", "mdl_t"]},
}


def complaints(given: Given, *steps: dict[str, object]) -> list[Complaint]:
    with pytest.raises(ImpossibleRecipe) as refused:
        check(recipe(*steps), ("keras",), given, Constraints.model_validate({}))
    return list(refused.value.errors)


def given(pointers: dict[str, str] | None = None, **changes: object) -> Given:
    """A teacher that fits but for `changes`, and one that fits."""
    others: dict[str, ModelFacts] = {"mdl_t": classifier(**changes), "mdl_a": classifier()}
    return Given(classifier(), digits(), others, pointers or {})


def test_teacher_that_fits_is_taken() -> None:
    plan = check(recipe(TAUGHT), ("keras",), given(), Constraints.model_validate({}))

    assert plan.steps[0].parameters["teacher_model_ids"] == ["mdl_t"]


def test_tflite_teacher_is_refused() -> None:
    [complaint] = complaints(given(format=ModelFormat.TFLITE), TAUGHT)

    assert complaint.pointer == "/recipe/steps/0/teacher_model_ids/0"
    assert complaint.detail.startswith("a tflite model cannot be a teacher")


def test_quantized_teacher_is_refused() -> None:
    [complaint] = complaints(given(is_quantized=True), TAUGHT)

    assert "quantized already" in complaint.detail


def test_every_teacher_of_a_recovery_has_to_fit() -> None:
    inputs = (classifier().inputs[0].model_copy(update={"shape": (32, 32, 3)}),)

    [complaint] = complaints(given(inputs=inputs), PRUNED)

    assert complaint.pointer == "/recipe/steps/0/recovery/teacher_model_ids/1"
    assert "(32, 32, 3)" in complaint.detail
    assert "(28, 28, 1)" in complaint.detail


def test_complaint_leads_to_where_the_model_was_named() -> None:
    named = given({"mdl_t": "/teacher_model_id"}, format=ModelFormat.TFLITE)

    [complaint] = complaints(named, TAUGHT)

    assert complaint.pointer == "/teacher_model_id"
