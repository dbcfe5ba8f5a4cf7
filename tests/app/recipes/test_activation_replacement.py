"""What may be asked of activation replacement."""

import json
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from app.recipes.activations import INT8_OPERATORS, Target, canonical, int8_words
from app.recipes.recipe import Recipe
from app.recipes.steps.activation_replacement import ActivationReplacement
from app.recipes.steps.base import Need


def asked(**parameters: Any) -> ActivationReplacement:
    return ActivationReplacement.model_validate(parameters)


def test_from_is_called_so_in_json_wherever_a_recipe_goes() -> None:
    given = {"technique": "activation_replacement", "from": ["relu", "swish"], "to": "tanh"}

    recipe = Recipe.model_validate({"steps": [given]})

    for dumped in (recipe.model_dump(mode="json"), json.loads(recipe.model_dump_json())):
        assert dumped["steps"][0]["from"] == ["relu", "swish"]
        assert Recipe.model_validate(dumped) == recipe
    assert recipe.steps[0].model_dump(exclude={"technique"})["from"] == ("relu", "swish")


def test_one_name_needs_no_list() -> None:
    assert asked(**{"from": "swish"}).sources == frozenset({"silu"})


def test_every_activation_is_meant_when_none_is_named() -> None:
    assert asked().sources is None
    assert asked().target == "relu"


@pytest.mark.parametrize(
    "parameters",
    [
        {"from": "relu"},
        {"from": ["tanh", "relu"], "to": "relu"},
        {"from": "swish", "to": "silu"},
        {"from": []},
        {"from": "softmax"},
        {"from": "linear"},
        {"to": "prelu"},
        {"to": "softmax"},
        {"from_": "tanh"},
    ],
)
def test_what_cannot_be_or_changes_nothing_is_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        asked(**parameters)


def test_recovery_learns_from_the_model_as_it_was_unless_there_is_none() -> None:
    training = asked().training()
    assert training is not None
    assert training.distill
    assert Need.LABELS in asked().all_needs()
    assert asked(recovery=None).training() is None
    assert asked(recovery=None).all_needs() == frozenset()


def test_every_target_is_known_in_an_int8_file() -> None:
    assert {canonical(name) for name in get_args(Target)} == INT8_OPERATORS.keys()


def test_words_say_where_an_int8_file_computes_an_activation() -> None:
    assert int8_words("relu6") == "part of the layer before it"
    assert int8_words("silu") == "integer operators: LOGISTIC, MUL"
    assert int8_words("elu") == "in float, between conversions to float and back"
    assert int8_words("hard_silu") == "integer operators: HARD_SWISH; slower than float on x86"
    assert int8_words("prelu") is None
