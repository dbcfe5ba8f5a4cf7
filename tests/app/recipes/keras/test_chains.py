"""Which layers' channels can surely be taken out, read from configurations."""

from typing import Any

import pytest

from app.recipes.keras.chains import removable_units


def layer(kind: str, name: str, **config: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": {"name": name, **config}}


def dense(name: str, units: int = 4, **config: Any) -> dict[str, Any]:
    return layer("Dense", name, **{"units": units, "activation": "relu", **config})


def conv(name: str, filters: int = 8, **config: Any) -> dict[str, Any]:
    return layer("Conv2D", name, **{"filters": filters, "activation": "linear", **config})


def sequential(*layers: dict[str, Any]) -> dict[str, Any]:
    return {"class_name": "Sequential", "config": {"name": "model", "layers": list(layers)}}


def functional(outputs: list[str], *calls: tuple[dict[str, Any], list[str]]) -> dict[str, Any]:
    """Layers with the names of those they read; `given` is the input."""
    given = layer("InputLayer", "given", batch_shape=[None, 8, 8, 3])
    listed = [{**given, "name": "given", "inbound_nodes": []}]
    for one, sources in calls:
        tensors = [
            {
                "class_name": "__keras_tensor__",
                "config": {"keras_history": [source, 0, 0], "shape": [None, 4]},
            }
            for source in sources
        ]
        args = [tensors if len(tensors) > 1 else tensors[0]]
        node = {"args": args, "kwargs": {}}
        listed.append({**one, "name": one["config"]["name"], "inbound_nodes": [node]})
    body = {
        "name": "model",
        "layers": listed,
        "input_layers": [["given", 0, 0]],
        "output_layers": [[name, 0, 0] for name in outputs],
    }
    return {"class_name": "Functional", "config": body}


def test_channels_that_pass_to_one_sum_can_go() -> None:
    model = sequential(
        layer("InputLayer", "given", batch_shape=[None, 8, 8, 3]),
        conv("one"),
        layer("BatchNormalization", "norm"),
        layer("ReLU", "relu"),
        layer("MaxPooling2D", "pool"),
        layer("Flatten", "flatten"),
        dense("two", 16),
        dense("out", 3),
    )

    assert removable_units(model) == {"one": 8, "two": 16}


@pytest.mark.parametrize(
    "first",
    [
        dense("one", activation="softmax"),
        dense("one", activation={"class_name": "LeakyReLU", "config": {}}),
        dense("one", lora_rank=4),
        conv("one", groups=2),
        conv("one", data_format="channels_first"),
        layer("MyDense", "one", units=4, activation="relu"),
    ],
    ids=["softmax", "activation layer", "lora", "groups", "channels first", "unknown"],
)
def test_special_cases_are_left_to_the_engine(first: dict[str, Any]) -> None:
    assert removable_units(sequential(first, dense("out"))) == {}


def test_channels_through_an_unknown_layer_are_left_to_the_engine() -> None:
    assert removable_units(sequential(dense("one"), layer("Softmax", "mix"), dense("out"))) == {}


def test_channels_that_two_layers_read_or_that_are_an_output_are_left_to_the_engine() -> None:
    model = functional(
        ["hidden", "out"],
        (dense("read_twice"), ["given"]),
        (dense("left"), ["read_twice"]),
        (dense("right"), ["read_twice"]),
        (layer("Add", "both"), ["left", "right"]),
        (dense("alone", 6), ["both"]),
        (dense("hidden"), ["alone"]),
        (dense("out"), ["hidden"]),
    )

    assert removable_units(model) == {"alone": 6}


def test_layers_that_read_each_other_in_a_circle_come_to_an_end() -> None:
    relu = [layer("ReLU", name) for name in ("a", "b")]
    model = functional(
        ["out"],
        (dense("one"), ["given"]),
        (relu[0], ["b"]),
        (relu[1], ["a"]),
        (layer("Add", "both"), ["one", "a"]),
        (dense("out"), ["both"]),
    )

    assert removable_units(model) == {}
