"""Modules put back into what a .h5 file leaves them out of."""

from typing import Any

import pytest

from app.recipes.keras.places import LAYERS_OF_NETWORKS, OPERATIONS, put_back

Json = dict[str, Any]
OF_LAYERS: Json = {"name": "x", "trainable": True, "dtype": "float32"}


def model(*layers: Any, class_name: str = "Functional") -> Json:
    return {"class_name": class_name, "config": {"name": "net", "layers": list(layers)}}


def module_of(layer: Json) -> object:
    put_back(model(layer))
    return layer.get("module")


def test_no_operation_is_in_two_modules() -> None:
    names = [name for module in OPERATIONS.values() for name in module]
    assert len(names) == len(set(names))


def test_put_back_finds_operations_of_models_at_any_depth() -> None:
    layer: Json = {"class_name": "Mean", "config": {"name": "x"}}
    wrapper = {"class_name": "TimeDistributed", "config": {"layer": model(layer)}}
    config = model(wrapper)
    for _ in range(3_000):
        config = model(config)

    put_back(config)

    assert layer["module"] == "keras.src.ops.numpy"


@pytest.mark.parametrize("name", ["Add", "Softmax", "ReLU", "Reshape"])
def test_put_back_tells_operations_from_layers_of_the_same_name(name: str) -> None:
    assert module_of({"class_name": name, "config": OF_LAYERS}) is None
    assert str(module_of({"class_name": name, "config": {"name": "x"}})).startswith("keras.src.")


@pytest.mark.parametrize(
    ("name", "own"),
    [(name, own) for layers in LAYERS_OF_NETWORKS.values() for name, own in layers.items()],
)
def test_put_back_leaves_an_authors_class_of_the_same_name_alone(
    name: str, own: frozenset[str]
) -> None:
    config = {**OF_LAYERS, **dict.fromkeys(own, 1)}
    assert module_of({"class_name": name, "config": {**config, "gamma": 1}}) is None
    assert str(module_of({"class_name": name, "config": config})).startswith("keras.src.app")


@pytest.mark.parametrize(
    "config",
    [
        None,
        [],
        {"class_name": ["Functional"], "config": {"layers": [{}]}},
        {"class_name": "Functional", "config": []},
        model(None, "Mean", [], {}, {"class_name": ["Mean"], "config": {}}, {"class_name": "Mean"}),
        model({"class_name": "Mean", "config": {}, "module": None}),
        model({"class_name": "Map", "config": {}}, {"class_name": "system", "config": {}}),
        {"class_name": "Mean", "config": {"name": "x"}},
    ],
)
def test_put_back_leaves_the_rest_as_it_is(config: Any) -> None:
    before = repr(config)
    put_back(config)
    assert repr(config) == before
