"""What every technique's parameters keep to, and the ranges of each."""

from typing import Any

import pytest
from pydantic import ValidationError

from app.recipes.recipe import Recipe
from app.recipes.steps import Step, step_types
from app.recipes.steps.magnitude_pruning import MagnitudePruning

MINIMAL: dict[str, dict[str, Any]] = {"magnitude_pruning": {"sparsity": 0.5}}
TECHNIQUES = sorted(step_types())


def minimal(technique: str) -> Step:
    return step_types()[technique].model_validate(MINIMAL.get(technique, {}))


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_step_tag_is_its_file_name(technique: str) -> None:
    assert minimal(technique).technique == technique


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_step_survives_json(technique: str) -> None:
    step = minimal(technique)
    as_recipe = Recipe.model_validate({"steps": [step.model_dump(mode="json")]})

    assert Recipe.model_validate_json(as_recipe.model_dump_json()).steps == (step,)


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_step_describes_every_parameter(technique: str) -> None:
    properties = step_types()[technique].model_json_schema()["properties"]
    silent = [
        name
        for name, schema in properties.items()
        if name != "technique" and not schema.get("description")
    ]

    assert silent == []


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_step_refuses_unknown_parameters(technique: str) -> None:
    with pytest.raises(ValidationError, match="extra_forbidden"):
        step_types()[technique].model_validate(MINIMAL.get(technique, {}) | {"sparsty": 1})


@pytest.mark.parametrize(
    "parameters",
    [
        {"sparsity": 1.0},
        {"sparsity": -0.1},
        {"sparsity": 80},
        {"sparsity": float("nan")},
        {"sparsity": 0.5, "include": ["("]},
        {"sparsity": 0.5, "initial_sparsity": 0.6, "schedule": "polynomial"},
        {"sparsity": 0.5, "schedule": "polynomial", "begin_step": 10, "end_step": 10},
        {"sparsity": 0.6, "pattern": "n_m", "n": 2, "m": 4},
        {"pattern": "n_m", "n": 4, "m": 4},
        {"pattern": "n_m", "scope": "global"},
    ],
)
def test_magnitude_pruning_refuses_what_cannot_be(parameters: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MagnitudePruning.model_validate(parameters)


@pytest.mark.parametrize(
    ("chosen", "name", "value"),
    [
        ({"schedule": "one_shot"}, "begin_step", 5),
        ({"schedule": "one_shot"}, "end_step", 10),
        ({"schedule": "one_shot"}, "frequency", 2),
        ({"schedule": "one_shot"}, "initial_sparsity", 0.1),
        ({"schedule": "constant"}, "end_step", 10),
        ({"schedule": "constant"}, "frequency", 2),
        ({"schedule": "constant"}, "initial_sparsity", 0.1),
        ({"pattern": "unstructured"}, "n", 1),
        ({"pattern": "unstructured"}, "m", 8),
        ({"pattern": "unstructured"}, "block_shape", [2, 2]),
        ({"pattern": "n_m"}, "block_shape", [2, 2]),
        ({"pattern": "block"}, "n", 1),
        ({"pattern": "block"}, "m", 8),
    ],
)
def test_magnitude_pruning_refuses_a_parameter_without_effect(
    chosen: dict[str, str], name: str, value: object
) -> None:
    ((choice, given),) = chosen.items()

    with pytest.raises(ValidationError, match=f"{name} has no effect where {choice} is {given}"):
        MagnitudePruning.model_validate({"sparsity": 0.5, **chosen, name: value})


@pytest.mark.parametrize("schedule", ["one_shot", "constant", "polynomial"])
@pytest.mark.parametrize("pattern", ["unstructured", "n_m", "block"])
def test_magnitude_pruning_takes_a_stored_step_with_every_default(
    schedule: str, pattern: str
) -> None:
    given = {"sparsity": 0.5, "schedule": schedule, "pattern": pattern}
    step = MagnitudePruning.model_validate(given)

    assert MagnitudePruning.model_validate_json(step.model_dump_json()) == step


def test_magnitude_pruning_takes_its_sparsity_from_n_and_m() -> None:
    assert MagnitudePruning.model_validate({"pattern": "n_m", "n": 1, "m": 4}).sparsity == 0.75


def test_layer_pattern_must_match_the_whole_name() -> None:
    step = MagnitudePruning.model_validate({"sparsity": 0.5, "include": ["dense"]})

    assert step.selects("dense")
    assert not step.selects("dense_1")


@pytest.mark.parametrize(
    ("step", "epochs"),
    [
        ({"technique": "channel_pruning", "steps": 2}, 2),
        ({"technique": "channel_pruning", "steps": 5, "recovery": None}, 5),
        ({"technique": "initialization", "compare": ["he_normal"]}, 2),
        ({"technique": "magnitude_pruning", "sparsity": 0.5, "schedule": "polynomial"}, 2),
        ({"technique": "magnitude_pruning", "sparsity": 0.5, "schedule": "constant"}, 2),
    ],
)
def test_a_step_that_cannot_do_without_recovery_holds_the_one_that_runs(
    step: dict[str, Any], epochs: int
) -> None:
    read = Recipe.model_validate({"steps": [step]}).steps[0]

    assert read.training() is not None
    assert read.model_dump(mode="json")["recovery"]["epochs"] == epochs
    assert type(read).model_validate_json(read.model_dump_json()) == read
