"""What may be asked of layer removal, and what validation refuses."""

from typing import Any

import pytest
from pydantic import ValidationError

from app.recipes.check import ImpossibleRecipe, check
from app.recipes.constraints import Constraints
from app.recipes.facts import LayerSpec
from app.recipes.recipe import Recipe
from app.recipes.steps.base import Given, Need
from app.recipes.steps.layer_removal import LayerRemoval
from tests.app.recipes.test_check import classifier, digits

DATA, LABELS = Need.TRAINING_DATA, Need.LABELS


def removal(**parameters: Any) -> LayerRemoval:
    return LayerRemoval.model_validate(parameters)


def complaint(step: dict[str, Any], **data: Any) -> Any:
    asked = Recipe.model_validate({"steps": [{"technique": "layer_removal", **step}]})
    given = Given(classifier(), digits(**data))
    with pytest.raises(ImpossibleRecipe) as refused:
        check(asked, ("keras",), given, Constraints.model_validate({}))
    (only,) = refused.value.errors
    return only


def test_one_span_goes_where_nothing_is_said() -> None:
    step = removal()

    assert (step.layers, step.count, step.max_accuracy_drop) == ((), 1, None)


def test_step_that_was_stored_is_read_back() -> None:
    for step in (removal(), removal(layers=["a"]), removal(max_accuracy_drop=0.0)):
        assert LayerRemoval.model_validate_json(step.model_dump_json()) == step


@pytest.mark.parametrize(
    "parameters",
    [
        {"layers": ["a"], "count": 1},
        {"count": 2, "max_accuracy_drop": 0.1},
        {"layers": ["a"], "max_accuracy_drop": 0.0},
    ],
)
def test_only_one_of_layers_count_and_drop_is_taken(parameters: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="give exactly one of layers, count, max_accuracy"):
        removal(**parameters)


def test_recovery_learns_from_the_uploaded_model_unless_it_is_turned_off() -> None:
    training = removal().training()

    assert training is not None
    assert training.distill
    assert removal(recovery=None).training() is None


@pytest.mark.parametrize(
    ("parameters", "needs"),
    [
        ({"layers": ["a"]}, set()),
        ({"layers": ["a"], "bridge": True}, {DATA}),
        ({"count": 2, "importance": "block_influence"}, {DATA}),
        ({"max_accuracy_drop": 0.1, "importance": "block_influence"}, {DATA, LABELS}),
        ({"count": 2, "importance": "accuracy"}, {DATA, LABELS}),
        ({}, {DATA, LABELS}),
    ],
)
def test_needs_follow_from_what_is_measured(parameters: dict[str, Any], needs: set[Need]) -> None:
    assert removal(**parameters, recovery=None).all_needs() == needs


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [([], [], True), (["b"], [], True), (["c"], [], False), ([], ["b"], False)],
)
def test_span_is_taken_if_one_layer_is_included_and_none_excluded(
    include: list[str], exclude: list[str], expected: bool
) -> None:
    assert removal(include=include, exclude=exclude).takes(["a", "b"]) is expected


def test_unknown_layer_is_refused_with_its_place() -> None:
    found = complaint({"layers": [classifier().layers[0].name, "nowhere"]})

    assert found.pointer == "/recipe/steps/0/layers/1"
    assert found.detail.startswith("'nowhere' matches no layer. Layers: ")


def test_rows_to_measure_on_are_missed() -> None:
    found = complaint({"recovery": {"validation_fraction": 0.0}})

    assert found.pointer == "/recipe/steps/0/recovery/validation_fraction"
    assert "keeps none" in found.detail


@pytest.mark.parametrize(
    ("parameters", "pointers"),
    [
        ({"layers": ["conv", "out"]}, ["/layers/1"]),
        ({"layers": ["conv"]}, []),
        ({"count": 2}, ["/count"]),
        ({"count": 1}, []),
    ],
)
def test_what_surely_stays_is_complained_of(
    parameters: dict[str, Any], pointers: list[str]
) -> None:
    layers = (
        LayerSpec(name="in", class_name="InputLayer", parameter_count=0),
        LayerSpec(name="conv", class_name="Conv2D", parameter_count=9),
        LayerSpec(name="out", class_name="Dense", parameter_count=9, is_output=True),
    )
    given = Given(classifier(layers=layers), digits())

    found = list(removal(**parameters).complaints(given))

    assert [one.pointer for one in found] == pointers
    assert [skip.what for skip in removal(**parameters).skips(given.model)] == ["out"]
