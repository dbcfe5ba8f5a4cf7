"""What may be asked of channel pruning, and what a plan says of it."""

from typing import Any

import pytest
from pydantic import ValidationError

from app.recipes.facts import LayerSpec, TensorSpec
from app.recipes.steps.base import Given, Need
from app.recipes.steps.channel_pruning import ChannelPruning
from tests.app.recipes.test_check import classifier, digits


def asked(**parameters: Any) -> ChannelPruning:
    return ChannelPruning.model_validate(parameters)


def test_half_of_the_channels_goes_if_nothing_is_said() -> None:
    assert asked().pruning_ratio == 0.5
    assert asked(target_macs_ratio=0.3).pruning_ratio is None


@pytest.mark.parametrize("parameters", [{}, {"target_macs_ratio": 0.3}, {"pruning_ratio": 0.0}])
def test_a_stored_step_with_every_default_is_read_back(parameters: dict[str, Any]) -> None:
    step = asked(**parameters)

    assert ChannelPruning.model_validate_json(step.model_dump_json()) == step


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"pruning_ratio": 0.5, "target_macs_ratio": 0.5}, "not both; given 0.5 and 0.5"),
        ({"pruning_ratio": 1.0}, "less than 1"),
        ({"target_macs_ratio": 0.0}, "greater than 0"),
        ({"target_macs_ratio": 1.0}, "less than 1"),
        ({"channel_multiple": 0}, "greater than or equal to 1"),
        ({"taylor_batches": 8}, "taylor_batches has no effect where importance is l1; given 8"),
        ({"steps": 3, "recovery": {"epochs": 2}}, "2 epochs for 3 rounds"),
    ],
)
def test_what_cannot_be_is_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        asked(**parameters)


def test_taylor_needs_labels_though_nothing_trains() -> None:
    assert asked(importance="taylor").all_needs() == {Need.TRAINING_DATA, Need.LABELS}
    assert asked().all_needs() == frozenset()
    assert asked(recovery={}).all_needs() == {Need.TRAINING_DATA, Need.LABELS}


def test_epochs_are_divided_among_rounds_and_the_last_one_gets_what_is_left() -> None:
    step = asked(steps=3, recovery={"epochs": 8, "batch_size": 50, "warmup_steps": 16})
    trainings = [step.of_round(number).training() for number in (1, 2, 3)]

    assert [one.epochs for one in trainings if one] == [2, 2, 4]
    assert [one.warmup_steps for one in trainings if one] == [4, 4, 8]
    assert {one.batch_size for one in trainings if one} == {50}
    assert step.training() == step.recovery


def test_several_rounds_train_though_nothing_is_said() -> None:
    training = asked(steps=5).training()

    assert training is not None
    assert training.epochs == 5
    assert asked().training() is None
    assert asked().of_round(1).training() is None


def test_scales_of_layers_that_are_not_there_are_complained_of() -> None:
    model = classifier()
    normed = model.model_copy(
        update={
            "layers": (
                *model.layers,
                LayerSpec(name="norm", class_name="BatchNormalization", parameter_count=8),
            )
        }
    )
    step = asked(importance="bn_scale")

    assert [one.pointer for one in step.complaints(Given(model, None))] == ["/importance"]
    assert list(step.complaints(Given(normed, None))) == []


def test_a_target_for_rows_of_no_known_length_is_complained_of() -> None:
    model = classifier(inputs=(TensorSpec(name="text", shape=(None,), dtype="int32"),))
    step = asked(target_macs_ratio=0.5)

    assert [one.pointer for one in step.complaints(Given(model, None))] == ["/target_macs_ratio"]
    assert list(step.complaints(Given(model, digits()))) == []
    assert list(asked().complaints(Given(model, None))) == []


def test_a_plan_warns_of_what_nothing_recovers() -> None:
    assert "accuracy will drop" in " ".join(asked().warnings(None))
    assert list(asked(recovery={}).warnings(None)) == []
    assert list(asked(pruning_ratio=0.0).warnings(None)) == []


def model_of(units: int | None) -> Any:
    spec = LayerSpec(name="conv", class_name="Conv2D", parameter_count=100, removable_units=units)
    return Given(classifier(layers=(spec,)), None)


@pytest.mark.parametrize(
    ("units", "parameters", "is_refused"),
    [
        (8, {"pruning_ratio": 0.95}, True),
        (8, {"pruning_ratio": 0.9}, False),
        (1, {"pruning_ratio": 0.9}, False),
        (None, {"pruning_ratio": 0.99}, False),
        (8, {"pruning_ratio": 0.95, "scope": "global"}, False),
        (8, {"pruning_ratio": 0.95, "exclude": ["conv"]}, False),
        (8, {"pruning_ratio": 0.95, "channel_multiple": 8}, False),
        (8, {"target_macs_ratio": 0.01}, False),
    ],
)
def test_a_ratio_that_would_empty_a_layer_is_complained_of(
    units: int | None, parameters: dict[str, Any], is_refused: bool
) -> None:
    found = list(asked(**parameters).complaints(model_of(units)))

    assert [one.pointer for one in found] == ["/pruning_ratio"] * is_refused
    assert all("all 8 channels of layer 'conv'" in one.detail for one in found)


def ending(kind: str = "Dense") -> Any:
    out = LayerSpec(name="out", class_name=kind, parameter_count=9, is_output=True)
    conv = LayerSpec(name="conv", class_name="Conv2D", parameter_count=9)
    return classifier(layers=(conv, out))


@pytest.mark.parametrize(
    ("kind", "parameters", "is_refused"),
    [
        ("Dense", {"include": ["out"]}, True),
        ("Dense", {}, False),
        ("Dense", {"include": ["out"], "pruning_ratio": 0.0}, False),
        # Its units are an output, its heads are not.
        ("MultiHeadAttention", {"include": ["out"]}, False),
    ],
)
def test_layers_that_surely_keep_their_width_are_complained_of(
    kind: str, parameters: dict[str, Any], is_refused: bool
) -> None:
    found = list(asked(**parameters).complaints(Given(ending(kind), None)))

    assert [one.pointer for one in found] == ["/include"] * is_refused
    assert all("keeps its width: out" in one.detail for one in found)


def test_channels_of_an_output_are_planned_to_stay() -> None:
    assert [skip.what for skip in asked().skips(ending())] == ["out"]
    assert list(asked(exclude=["out"]).skips(ending())) == []


def test_heads_are_called_so() -> None:
    spec = LayerSpec(
        name="mha", class_name="MultiHeadAttention", parameter_count=9, removable_units=4
    )
    given = Given(classifier(layers=(spec,)), None)

    (found,) = asked(pruning_ratio=0.9).complaints(given)

    assert "all 4 heads of layer 'mha'" in found.detail
