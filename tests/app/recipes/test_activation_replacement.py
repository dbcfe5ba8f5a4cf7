"""What may be asked of activation replacement."""

import json
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from app.recipes.activations import INT8_OPERATORS, Target, canonical, int8_words
from app.recipes.facts import LayerSpec, ModelFacts
from app.recipes.keras.activations import sure_activation
from app.recipes.recipe import Recipe
from app.recipes.steps.activation_replacement import ActivationReplacement
from app.recipes.steps.base import Given, Need, Skip
from tests.app.recipes.test_check import classifier


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


def model_of(*activations: str | None) -> ModelFacts:
    """Hidden layers with these, and an output with tanh."""
    hidden = [
        LayerSpec(name=f"h{index}", class_name="Dense", parameter_count=9, activation=name)
        for index, name in enumerate(activations)
    ]
    last = LayerSpec(
        name="out", class_name="Dense", parameter_count=9, activation="tanh", is_output=True
    )
    return classifier(layers=(*hidden, last))


@pytest.mark.parametrize(
    ("activations", "parameters", "is_refused"),
    [
        (("relu", "linear"), {"from": "tanh"}, True),
        (("relu", "tanh"), {"from": "tanh", "include": ["h0"]}, True),
        (("relu", "tanh"), {"from": "tanh"}, False),
        (("relu", None), {"from": "tanh"}, False),
        (("relu",), {"to": "relu"}, False),
    ],
)
def test_activations_that_no_hidden_layer_has_are_complained_of(
    activations: tuple[str | None, ...], parameters: dict[str, Any], is_refused: bool
) -> None:
    given = Given(model_of(*activations), None)

    found = list(asked(**parameters).complaints(given))

    assert [one.pointer for one in found] == ["/from"] * is_refused
    assert all("activation tanh; there are: relu" in one.detail for one in found)


def test_activations_are_not_known_after_they_were_replaced() -> None:
    given = asked(to="tanh").given_after(Given(model_of("relu"), None))

    assert list(asked(**{"from": "tanh"}).complaints(given)) == []


def test_activation_of_an_output_is_planned_to_stay() -> None:
    assert list(asked().skips(model_of("sigmoid"))) == [
        Skip("out", "it makes an output of the model")
    ]
    assert list(asked(to="tanh").skips(model_of("sigmoid"))) == []


@pytest.mark.parametrize(
    ("kind", "config", "name"),
    [
        ("Dense", {"activation": "swish"}, "silu"),
        ("Conv2D", {"activation": {"class_name": "function", "config": "gelu"}}, "gelu"),
        ("Dense", {"activation": {"class_name": "ReLU", "config": {}}}, None),
        ("Dense", {"activation": None}, "linear"),
        ("ReLU", {"max_value": None, "negative_slope": 0.0, "threshold": 0.0}, "relu"),
        ("ReLU", {"max_value": 6.0}, "relu6"),
        ("ReLU", {"max_value": 6.0, "negative_slope": 0.1}, None),
        ("LeakyReLU", {}, "leaky_relu"),
        ("Flatten", {}, "linear"),
        ("TimeDistributed", {"layer": {}}, None),
    ],
)
def test_activation_is_read_where_that_is_sure(
    kind: str, config: dict[str, Any], name: str | None
) -> None:
    assert sure_activation({"class_name": kind, "config": config}) == name
