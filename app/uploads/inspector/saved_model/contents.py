"""What a graph computes with on the way to its outputs: weights, and whom they belong to."""

import math
from collections.abc import Iterable, Iterator, Mapping

from app.recipes.facts import LayerSpec
from app.recipes.tensor_graph import LINEAR, Graph, Node, maker_and_index
from app.uploads.inspector.saved_model.graph import VARIABLE
from app.uploads.inspector.saved_model.uses import Uses

LOOPS = frozenset({"StatelessWhile", "While"})
# Trained with rounding, or stored as integers: the float weights are not there any more.
ROUNDING = "FakeQuant"
HALVES = frozenset({"bfloat16", "float16"})
INTEGER_WEIGHTS = frozenset({"int4", "int8", "uint4", "uint8", "float8_e4m3fn", "float8_e5m2"})


class Contents:
    """What is reached from some tensors, back through nodes and the functions they call."""

    def __init__(self, graph: Graph, tensors: Iterable[str]) -> None:
        self._graph = graph
        self.nodes = tuple(_reached(graph.nodes, tensors))
        names = dict.fromkeys(name for node in self.nodes for name in node.calls)
        self.functions = _called(graph, names)

    @property
    def operators(self) -> frozenset[str]:
        return frozenset(node.operator for node in self._all_nodes())

    @property
    def half(self) -> str | None:
        """The type of 16 bits that products are computed in; null where they are in others."""
        types = {node.dtype for node in self._all_nodes() if node.operator in LINEAR}
        return min((one for one in types if one in HALVES), default=None)

    @property
    def weights(self) -> tuple[Node, ...]:
        """Variables that hold parameters. The state of a random generator is whole numbers."""
        return tuple(
            node
            for node in self.nodes
            if node.operator == VARIABLE
            and ("float" in (node.dtype or "") or node.dtype in INTEGER_WEIGHTS)
        )

    @property
    def is_recurrent(self) -> bool:
        return bool(self.operators & LOOPS)

    @property
    def is_quantized(self) -> bool:
        is_rounded = any(operator.startswith(ROUNDING) for operator in self.operators)
        return is_rounded or any(
            weight.dtype in INTEGER_WEIGHTS and len(weight.shape or ()) > 1
            for weight in self.weights
        )

    def _all_nodes(self) -> Iterator[Node]:
        yield from self.nodes
        for name in self.functions:
            yield from self._graph.functions[name].nodes.values()

    def layers(self) -> tuple[LayerSpec, ...]:
        """The owners of weights, called as in the names of these, with the operator they feed."""
        owners: dict[str, list[Node]] = {}
        for weight in self.weights:
            owners.setdefault(weight.name.rpartition("/")[0] or weight.name, []).append(weight)
        common, uses = _common_folder(owners), Uses(self._graph)
        return tuple(
            LayerSpec(
                name=owner.removeprefix(common),
                class_name=uses.operator_of(max(weights, key=size_of)),
                parameter_count=sum(map(size_of, weights)),
            )
            for owner, weights in owners.items()
        )


def size_of(weight: Node) -> int:
    return math.prod(weight.shape or ())


def _reached(nodes: Mapping[str, Node], tensors: Iterable[str]) -> Iterator[Node]:
    """Nodes in the order in which they are met, a node's inputs from the first to the last."""
    pending = [maker_and_index(tensor)[0] for tensor in reversed(list(tensors))]
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        if name in seen or name not in nodes:
            continue
        seen.add(name)
        yield nodes[name]
        pending += [maker_and_index(tensor)[0] for tensor in reversed(nodes[name].inputs)]


def _called(graph: Graph, names: Iterable[str]) -> tuple[str, ...]:
    pending, found = list(names), dict[str, None]()
    while pending:
        name = pending.pop()
        if name not in found:
            found[name] = None
            nodes = graph.functions[name].nodes.values()
            pending += [called for node in nodes for called in node.calls]
    return tuple(found)


def _common_folder(names: Iterable[str]) -> str:
    """The model's own name, where all layers begin with it and have a name behind it."""
    folders = {name.partition("/")[0] + "/" if "/" in name else "" for name in names}
    return folders.pop() if len(folders) == 1 else ""
