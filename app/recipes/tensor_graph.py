"""A TensorFlow graph as plain values, and how its outputs end; pure.

A tensor is named as TensorFlow does: `node:1` in the graph, `node:output:1` or an argument's name
inside a function, `^node` where one node only waits for another.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from app.recipes.facts import Activation

CALLING = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
# They pass on what they are given, each output its own input.
PASSING = frozenset(
    {"Cast", "CheckNumerics", "EnsureShape", "Identity", "IdentityN", "PreventGradient", "Snapshot"}
    | {"StopGradient"}
)
# A log_softmax only moves all logits of a row by one number, which no softmax sees.
ENDS: dict[str, Activation] = {
    "LogSoftmax": "linear",
    "Sigmoid": "sigmoid",
    "Softmax": "softmax",
}
# Averages of positions: each channel stays what it was.
AVERAGING = frozenset({"AvgPool", "AvgPool3D", "Mean"})
# The last axis may be another one afterwards, which a softmax does not bear.
RESHAPING = frozenset({"ExpandDims", "Reshape", "Squeeze"})
LINEAR = frozenset(
    {"BatchMatMulV2", "BiasAdd", "Conv2D", "Conv3D", "DepthwiseConv2dNative", "Einsum", "MatMul"}
)
ADDING = frozenset({"Add", "AddV2"})
WEIGHTS = frozenset({"Const", "ReadVariableOp"})
# Far more than any chain of nodes between an output and its activation.
MAX_STEPS = 1_000


class Made(NamedTuple):
    """What an operator says of the outputs it has: null where it does not say it."""

    dtypes: tuple[str, ...] | None = None
    shapes: tuple[tuple[int | None, ...] | None, ...] | None = None


class Node(NamedTuple):
    """One operator. `calls` are the functions that its attributes name.

    `shape` and `dtype` are those of a variable or constant, `dtype` also what a product computes
    in; `texts` what a constant of text holds.
    """

    name: str
    operator: str
    inputs: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    texts: tuple[bytes, ...] = ()
    made: Made = Made()

    @property
    def data_inputs(self) -> tuple[str, ...]:
        return tuple(one for one in self.inputs if not one.startswith("^"))


class Function(NamedTuple):
    """A part of the graph with a name. `results` are tensors, in the order of its outputs."""

    name: str
    arguments: tuple[str, ...]
    results: tuple[str, ...]
    nodes: Mapping[str, Node]


class Graph(NamedTuple):
    nodes: Mapping[str, Node]
    functions: Mapping[str, Function]


class Place(NamedTuple):
    """A tensor in the graph itself, or in a function as it is called by the nodes of `path`."""

    tensor: str
    path: tuple[tuple[Function, Node], ...] = ()

    def at(self, tensor: str) -> "Place":
        return self._replace(tensor=tensor)


def maker_and_index(tensor: str) -> tuple[str, int]:
    """The node that a tensor comes from, and which of its outputs it is."""
    name, _, rest = tensor.removeprefix("^").partition(":")
    index = rest.rpartition(":")[2]
    return name, int(index) if index.isdigit() and len(index) < 6 else 0


def activation(graph: Graph, tensor: str) -> Activation:
    """What an output ends in, read back through calls and what passes values on.

    A wrong answer would measure logits as probabilities: what cannot be vouched for is "other".
    """
    place, is_reshaped = Place(tensor), False
    for _ in range(MAX_STEPS):
        made = next(_back(graph, place), None)
        node = _node(graph, made) if made else None
        if made is None or node is None:
            break
        if node.operator in AVERAGING | RESHAPING and node.data_inputs:
            is_reshaped = is_reshaped or node.operator in RESHAPING
            place = made.at(node.data_inputs[0])
            continue
        found = _end(graph, made, node)
        return "other" if is_reshaped and found == "softmax" else found
    return "other"


def _end(graph: Graph, place: Place, node: Node) -> Activation:
    if node.operator in LINEAR or (node.operator in ADDING and _adds_weights(graph, place)):
        return "linear"
    return ENDS.get(node.operator, "other")


def _adds_weights(graph: Graph, place: Place) -> bool:
    """Whether a sum is one with a bias."""
    node = _node(graph, place)
    terms = node.data_inputs[:2] if node else ()
    makers = [next(_back(graph, place.at(term)), None) for term in terms]
    found = [_node(graph, maker) for maker in makers if maker]
    return any(one is not None and one.operator in WEIGHTS for one in found)


def _back(graph: Graph, place: Place) -> Iterator[Place]:
    """The place where a tensor is really made; nothing where there is no end to it."""
    for _ in range(MAX_STEPS):
        earlier = _one_back(graph, place)
        if earlier is None:
            return
        if earlier == place:
            yield place
            return
        place = earlier


def _one_back(graph: Graph, place: Place) -> Place | None:
    """The same place where an operator makes the tensor; null where it comes from nowhere."""
    name, index = maker_and_index(place.tensor)
    function, call = place.path[-1] if place.path else (None, None)
    if function and call and name in function.arguments:
        return _from(call.data_inputs, function.arguments.index(name), place.path[:-1])
    node = _node(graph, place)
    if node is None:
        return None
    if node.operator in CALLING:
        called = graph.functions.get(node.calls[0]) if node.calls else None
        return _from(called.results, index, (*place.path, (called, node))) if called else None
    if node.operator in PASSING:
        return _from(node.data_inputs, index, place.path)
    return place


def _from(
    tensors: tuple[str, ...], index: int, path: tuple[tuple[Function, Node], ...]
) -> Place | None:
    return Place(tensors[index], path) if index < len(tensors) else None


def _node(graph: Graph, place: Place) -> Node | None:
    nodes = place.path[-1][0].nodes if place.path else graph.nodes
    return nodes.get(maker_and_index(place.tensor)[0])
