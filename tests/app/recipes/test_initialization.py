"""What may be asked of initialization, and what validation refuses."""

from typing import Any

import pytest
from pydantic import ValidationError

from app.recipes.check import ImpossibleRecipe, check
from app.recipes.constraints import Constraints
from app.recipes.facts import LayerSpec, ModelFacts, ModelFormat
from app.recipes.recipe import Recipe
from app.recipes.steps.base import Given
from app.recipes.steps.initialization import Initialization, InitialWeights
from tests.app.recipes.test_check import classifier, digits

NO_TARGETS = Constraints.model_validate({})


def checked(
    step: dict[str, Any],
    source: ModelFacts | None = None,
    *,
    model: ModelFacts | None = None,
    **data: Any,
) -> Any:
    asked = Recipe.model_validate({"steps": [{"technique": "initialization", **step}]})
    others = {"mdl_source": source} if source else {}
    given = Given(model or classifier(), digits(**data), others)
    return check(asked, ("keras",), given, NO_TARGETS)


def complaint(step: dict[str, Any], source: ModelFacts | None = None, **data: Any) -> Any:
    with pytest.raises(ImpossibleRecipe) as refused:
        checked(step, source, **data)
    (only,) = refused.value.errors
    return only


@pytest.mark.parametrize(
    ("scheme", "name", "value", "readers"),
    [
        ("normal", "minval", -1.0, "uniform"),
        ("he_normal", "maxval", 1.0, "uniform"),
        ("uniform", "mean", 1.0, "normal or truncated_normal"),
        ("glorot_normal", "stddev", 0.1, "normal or truncated_normal"),
        ("zeros", "gain", 2.0, "orthogonal"),
        ("orthogonal", "source_model_id", "mdl_1", "pretrained"),
    ],
)
def test_parameter_without_effect_is_refused(
    scheme: str, name: str, value: object, readers: str
) -> None:
    wanted = f"{name} has no effect where scheme is {scheme}; .* choose {readers}"

    with pytest.raises(ValidationError, match=wanted):
        InitialWeights.model_validate({"scheme": scheme, name: value})


def test_parameter_of_a_compared_scheme_has_an_effect() -> None:
    step = Initialization.model_validate({"compare": ["orthogonal"], "gain": 2.0})

    assert step.schemes() == ("glorot_uniform", "orthogonal")


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"scheme": "uniform", "minval": 0.1, "maxval": 0.1}, "minval must be below maxval"),
        ({"scheme": "normal", "stddev": 0.0}, "stddev"),
        ({"scheme": "he"}, "scheme"),
        ({"compare": ["zeros", "zeros"]}, "names a scheme twice"),
        ({"compare": ["glorot_uniform"]}, "`scheme` again"),
        ({"keep": "best"}, "keep=best has no effect"),
        (
            {"compare": ["zeros"], "recovery": {"validation_fraction": 0.0}},
            "validation_fraction must be above 0",
        ),
    ],
)
def test_initialization_refuses_what_cannot_be(parameters: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Initialization.model_validate(parameters)


def test_comparison_trains_even_if_it_does_not_say_so() -> None:
    assert Initialization.model_validate({"compare": ["zeros"]}).training() is not None
    assert Initialization().training() is None


def test_plan_counts_the_optimizer_steps_of_every_scheme() -> None:
    recovery = {"epochs": 3, "batch_size": 64, "validation_fraction": 0.1}

    one = checked({"recovery": recovery})
    three = checked({"recovery": recovery, "compare": ["zeros", "he_normal"]})

    assert one.optimizer_steps == 3 * 15  # 900 rows / 64, rounded up
    assert three.optimizer_steps == 3 * one.optimizer_steps


def test_comparison_needs_labels() -> None:
    assert complaint({"compare": ["zeros"]}, labels=()).pointer == "/dataset_id"


def test_source_model_is_named_with_its_pointer() -> None:
    step = Initialization.model_validate({"scheme": "pretrained", "source_model_id": "mdl_1"})

    assert list(step.model_ids()) == [("/source_model_id", "mdl_1")]


def test_teacher_of_the_recovery_is_named_too() -> None:
    recovery = {"distill": True, "teacher_model_ids": ["mdl_2"]}
    step = Initialization.model_validate({"recovery": recovery})

    assert list(step.model_ids()) == [("/recovery/teacher_model_ids/0", "mdl_2")]


PRETRAINED = {"scheme": "pretrained", "source_model_id": "mdl_source"}


def test_source_may_have_other_inputs_and_outputs() -> None:
    assert checked(PRETRAINED, classifier(inputs=(), outputs=(), heads=())).steps


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": ModelFormat.TFLITE}, "a tflite model cannot be a teacher, student or source"),
        ({"is_quantized": True}, "quantized already"),
        (
            {"layers": (LayerSpec(name="rnn", class_name="LSTM", parameter_count=9),)},
            "layers of the kinds LSTM; the job's model has Conv2D, Dense",
        ),
    ],
)
def test_source_that_cannot_fit_is_refused(changes: dict[str, Any], reason: str) -> None:
    refused = complaint(PRETRAINED, classifier(**changes))

    assert refused.pointer == "/recipe/steps/0/source_model_id"
    assert reason in refused.detail


def test_layers_that_match_nothing_are_refused() -> None:
    assert complaint({"include": ["nowhere"]}).pointer == "/recipe/steps/0/include/0"


@pytest.mark.parametrize(
    ("choice", "field"), [({"include": ["flat"]}, "include"), ({"exclude": ["conv.*"]}, "exclude")]
)
def test_choice_of_layers_without_weights_is_refused(choice: dict[str, Any], field: str) -> None:
    layers = (
        LayerSpec(name="conv_1", class_name="Conv2D", parameter_count=9),
        LayerSpec(name="flat", class_name="Flatten", parameter_count=0),
    )

    refused = complaint(choice, model=classifier(layers=layers))

    assert refused.pointer == f"/recipe/steps/0/{field}"
    assert "Layers with weights: conv_1" in refused.detail


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"scheme": "zeros"}, "serves as a control"),
        ({"scheme": "he_normal"}, "know nothing until a later step trains them"),
        ({"scheme": "he_normal", "recovery": {}}, None),
        ({"scheme": "pretrained"}, None),
    ],
)
def test_plan_warns_of_starts_that_know_nothing(
    parameters: dict[str, Any], words: str | None
) -> None:
    warnings = checked(parameters).warnings

    assert any(words in warning for warning in warnings) if words else not warnings
