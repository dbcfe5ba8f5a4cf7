"""Which groups may become narrower, by how many units at a time, and what is said of the others."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest

from app.errors import LayerEmptied
from app.recipes.keras.chains import removable_units
from tests.builders import MODELS, step
from worker.engine.pruning.choice import choice
from worker.engine.pruning.widths import unit_multiples
from worker.engine.surgery.channels.graph import channel_graph

L = keras.layers
EXAMPLE = Path(__file__).parents[4] / "examples" / "lenet5.keras"


def chain(*layers: Any, shape: tuple[int, ...] = (8, 8, 3)) -> Any:
    ends = [L.Flatten(name="flatten"), L.Dense(2, name="out")]
    return keras.Sequential([keras.Input(shape), *layers, *ends])


def attention() -> Any:
    given = keras.Input((5, 8))
    x = L.MultiHeadAttention(6, 4, output_shape=10, name="attention")(given, given)
    return keras.Model(given, L.Dense(2, name="out")(x))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: chain(L.Conv2D(16, 3, name="conv")), {"conv": 8}),
        (lambda: chain(L.Conv2DTranspose(16, 3, name="back")), {"back": 8}),
        (lambda: chain(L.SeparableConv2D(16, 3, name="separable")), {"separable": 8}),
        (lambda: chain(L.LSTM(16, name="lstm"), shape=(5, 3)), {"lstm": 8}),
        (lambda: chain(L.Conv2D(16, 1, name="conv"), L.GroupNormalization(4)), {"conv": 2}),
        (
            lambda: chain(L.Conv2D(16, 1, name="conv"), L.DepthwiseConv2D(3, depth_multiplier=2)),
            {"conv": 4},
        ),
        (attention, {"attention:heads": 2, "attention": 8}),
    ],
    ids=["conv", "transposed", "separable", "recurrent", "grouped", "depthwise", "heads"],
)
def test_units_go_by_as_many_as_make_the_multiple_of_channels(
    make: Callable[[], Any], expected: dict[str, int]
) -> None:
    model = make()

    assert unit_multiples(model, channel_graph(model), 8) == expected


def test_a_head_is_as_wide_as_its_multiple_already() -> None:
    model = attention()

    found = choice(step("channel_pruning", channel_multiple=4), model, channel_graph(model))

    assert found.multiples == {"attention:heads": 1, "attention": 4}
    assert [group.name for group in found.groups] == ["attention:heads", "attention"]


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"channel_multiple": 16}, "its 4 channels are no more than channel_multiple (16)"),
        ({"pruning_ratio": 0.1}, "0.1 of its 4 channels rounds to nothing"),
        ({"exclude": ["narrow"]}, "not chosen by the recipe"),
        ({"importance": "bn_scale"}, "no BatchNormalization scales its channels"),
    ],
)
def test_a_layer_that_stays_is_named_with_the_reason(
    parameters: dict[str, Any], reason: str
) -> None:
    narrow, wide = L.Conv2D(4, 3, name="narrow"), L.Conv2D(64, 3, name="wide")
    model = chain(narrow, wide, L.BatchNormalization(name="norm"))

    found = choice(step("channel_pruning", **parameters), model, channel_graph(model))

    assert [group.name for group in found.groups] == ["wide"]
    (said,) = [skip.reason for skip in found.skipped if skip.layer == "narrow"]
    assert said.startswith(reason)


def test_a_layer_of_one_channel_stays() -> None:
    model = chain(L.Conv2D(1, 3, name="one"), L.Conv2D(8, 3, name="more"))

    found = choice(step("channel_pruning", pruning_ratio=0.9), model, channel_graph(model))

    assert ("one", "it has only one channel") in [(s.layer, s.reason) for s in found.skipped]


@pytest.mark.parametrize("name", [*sorted(MODELS), "example"])
def test_what_inspection_is_sure_of_is_what_the_engine_finds(name: str) -> None:
    model = keras.saving.load_model(EXAMPLE) if name == "example" else MODELS[name]()

    sure = removable_units(json.loads(model.to_json()))

    found = {group.producers: group.count for group in channel_graph(model).groups}
    assert {(layer,): units for layer, units in sure.items()}.items() <= found.items()
    if name == "example":
        assert sure == {"conv1": 20, "conv2": 50, "dense1": 500}


def test_layer_that_would_be_emptied_is_named_by_the_error() -> None:
    model = chain(L.Conv2D(4, 3, name="few"), L.Conv2D(64, 3, name="many"))

    with pytest.raises(LayerEmptied) as refused:
        choice(step("channel_pruning", pruning_ratio=0.9), model, channel_graph(model))

    problem = refused.value.as_problem()
    assert (problem.code, problem.layer) == ("layer_emptied", "few")
