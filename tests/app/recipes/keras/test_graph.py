"""Graphs that lead to one tensor on very many ways: each is gone once."""

import time
from typing import Any

from app.recipes.keras.config import heads, outputs
from app.recipes.keras.graph import Graph, Ref

Json = dict[str, Any]
SOON_S = 5.0


def layer(kind: str, name: str, *feeds: Json, **config: Any) -> Json:
    calls = [{"args": [list(feeds)], "kwargs": {}}] if feeds else []
    inner = {"name": name, **config}
    return {"class_name": kind, "name": name, "config": inner, "inbound_nodes": calls}


def tensor(name: str, node: int = 0) -> Json:
    config = {"dtype": "float32", "keras_history": [name, node, 0]}
    return {"class_name": "__keras_tensor__", "config": config}


def functional(layers: list[Json], ends: list[Any], name: str = "net") -> Json:
    body = {"name": name, "layers": layers, "input_layers": [["in", 0, 0]], "output_layers": ends}
    return {"class_name": "Functional", "name": name, "config": body, "inbound_nodes": []}


def source() -> Json:
    return layer("InputLayer", "in", batch_shape=[None, 4])


def test_sums_of_sums_of_an_unknown_shape_take_no_time() -> None:
    layers = [source(), layer("GlobalMaxPooling1D", "x0", tensor("in"))]
    for index in range(1, 300):
        before = tensor(f"x{index - 1}")
        built = {"build_config": {"input_shape": [None, 4]}} if index % 2 else {}
        layers.append({**layer("Add", f"x{index}", before, before), **built})
    model = functional(layers, [["x299", 0, 0]] * 300)
    started = time.process_time()
    assert outputs(model)[0].shape is None
    assert len(heads(model, None)) == 300
    assert time.process_time() - started < SOON_S


def test_nested_model_is_taken_apart_once_however_often_it_is_called() -> None:
    inside = [source()]
    for index in range(1000):
        before = tensor(f"x{index - 1}" if index else "in")
        inside.append(layer("Dropout", f"x{index}", before))
    inner = functional(inside, [["x999", 0, 0]], "inner")
    inner["inbound_nodes"] = [
        {"args": [tensor("inner", node) if node else tensor("in")], "kwargs": {}}
        for node in range(1000)
    ]
    model = functional([source(), inner], [["inner", node, 0] for node in range(1, 1001)])
    started = time.process_time()
    assert {head.shape for head in heads(model, None)} == {(4,)}
    assert time.process_time() - started < SOON_S


def test_shape_of_what_leads_back_to_itself_is_not_known() -> None:
    layers = [source(), layer("Add", "a", tensor("b"), tensor("in"))]
    layers.append(layer("Dropout", "b", tensor("a")))
    graph = Graph.of(functional(layers, [["b", 0, 0]]))
    assert graph.shape(Ref("b", 0, 0)) is None
    assert graph.shape(Ref("a", 0, 0)) is None
