"""What may be asked of weight quantization, and what a plan says of it."""

from typing import Any

import pytest
from pydantic import ValidationError

from app.recipes.check import ImpossibleRecipe, check
from app.recipes.constraints import Constraints
from app.recipes.facts import LayerSpec
from app.recipes.recipe import Recipe
from app.recipes.steps.base import Given, Need
from app.recipes.steps.weight_quantization import WeightQuantization
from tests.app.recipes.test_check import classifier, digits

NO_TARGETS = Constraints.model_validate({})


def asked(**parameters: Any) -> WeightQuantization:
    return WeightQuantization.model_validate(parameters)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"granularity": "per_group", "group_size": 16},
        {"range": "percentile", "percentile": 99.0},
        {"rounding": "integer", "integer_scaling": "none", "symmetric": False},
        {"rounding": "integer", "integer_scaling": "range", "range": "mse", "symmetric": False},
        {"rounding": "adaptive", "calibration_samples": 10},
        {"bias_correction": True, "calibration_samples": 10},
    ],
)
def test_a_stored_step_with_every_default_is_read_back(parameters: dict[str, Any]) -> None:
    step = asked(**parameters)

    assert WeightQuantization.model_validate_json(step.model_dump_json()) == step


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"num_bits": 1}, "greater than or equal to 2"),
        ({"num_bits": 9}, "less than or equal to 8"),
        ({"granularity": "per_axis"}, "'per_tensor', 'per_channel' or 'per_group'"),
        ({"granularity": "per_group", "group_size": 1}, "greater than or equal to 2"),
        ({"group_size": 16}, "group_size has no effect where granularity is per_channel; given 16"),
        ({"percentile": 99.0}, "percentile has no effect where range is min_max; given 99.0"),
        ({"range": "percentile", "percentile": 100.0}, "less than 100"),
        (
            {"integer_scaling": "none"},
            "integer_scaling has no effect where rounding is nearest; given none",
        ),
        *(
            (
                {"rounding": "integer", "integer_scaling": "none", **parameters},
                f"{name} has no effect where integer_scaling is none",
            )
            for name, parameters in {
                "granularity": {"granularity": "per_group", "group_size": 16},
                "range": {"range": "percentile", "percentile": 99.0},
            }.items()
        ),
        ({"calibration_samples": 9}, "calibration_samples has no effect without .*; given 9"),
        ({"recovery": {"epochs": 1}}, "Extra inputs are not permitted"),
    ],
)
def test_what_cannot_be_is_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        asked(**parameters)


def test_only_what_looks_at_rows_needs_data() -> None:
    assert asked().all_needs() == frozenset()
    assert asked(rounding="adaptive").all_needs() == {Need.CALIBRATION_DATA}
    assert asked(bias_correction=True).all_needs() == {Need.CALIBRATION_DATA}
    assert asked(rounding="stochastic", equalization=True).all_needs() == frozenset()


def test_adaptive_rounding_without_data_is_refused_at_the_data_set() -> None:
    step = {"technique": "weight_quantization", "rounding": "adaptive"}
    recipe = Recipe.model_validate({"steps": [step]})

    with pytest.raises(ImpossibleRecipe) as raised:
        check(recipe, ("keras",), Given(classifier(), None), NO_TARGETS)

    (complaint,) = raised.value.errors
    assert complaint.pointer == "/dataset_id"
    assert "weight_quantization needs calibration data" in complaint.detail


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        (
            {"granularity": "per_group", "num_bits": 4},
            "Weights that are scaled per group are held as integers in the packed file alone",
        ),
        ({"symmetric": False}, "Weights that are affine, of 8 bits are held as integers in the pa"),
        ({"num_bits": 4}, "A tflite file has one byte for each weight of 4 bits"),
        ({"num_bits": 3, "symmetric": False}, "A tflite file has one byte for each weight of 3"),
    ],
)
def test_a_plan_says_what_tflite_does_not_hold(parameters: dict[str, Any], sentence: str) -> None:
    (warning,) = asked(**parameters).warnings(None)

    assert warning.startswith(sentence)


def test_a_plan_says_nothing_of_what_tflite_can_hold() -> None:
    assert list(asked(rounding="adaptive", granularity="per_tensor").warnings(digits())) == []


def test_a_plan_says_that_there_are_fewer_rows_than_asked_for() -> None:
    step = asked(rounding="adaptive", calibration_samples=5000)

    (warning,) = step.warnings(digits())

    assert "5000" in warning
    assert "1000 training rows" in warning


def test_a_plan_names_recurrent_layers_that_adaptive_rounding_cannot_look_into() -> None:
    layers = (
        LayerSpec(name="memory", class_name="LSTM", parameter_count=100),
        LayerSpec(name="left_out", class_name="GRU", parameter_count=100),
        LayerSpec(name="logits", class_name="Dense", parameter_count=100),
    )
    model = classifier(layers=layers)

    adaptive = asked(rounding="adaptive", exclude=["left.*"])

    assert [skip.what for skip in adaptive.skips(model)] == ["memory"]
    assert list(asked().skips(model)) == []
