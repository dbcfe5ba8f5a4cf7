"""Which operator computes with a weight, followed from the weight into the functions it goes to."""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from app.recipes.tensor_graph import Graph, Node, maker_and_index

# They hand a weight on to the operator that computes with it.
CARRYING = frozenset(
    {"Cast", "ExpandDims", "Identity", "ReadVariableOp", "Reshape", "Squeeze", "Transpose"}
)
# They restore, save or look after a variable; what it is for does not show there.
TENDING = frozenset({"AssignVariableOp", "DisableCopyOnRead", "SaveV2", "VarIsInitializedOp"})
# Their first input chooses; the functions get the others.
CHOOSING = frozenset({"Case", "If", "StatelessCase", "StatelessIf"})
# Over all weights; an honest model needs a few for each.
MAX_STEPS = 1_000_000


class Use(NamedTuple):
    """A node that takes a tensor, and as which of its inputs."""

    node: Node
    place: int


class Uses:
    """Who takes what; each function is gone through when it is first needed."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._known: dict[str, Mapping[str, list[Use]]] = {}
        self._steps_left = MAX_STEPS

    def operator_of(self, weight: Node) -> str:
        """The first operator that computes with a weight; the weight's own where none does."""
        pending = deque([("", weight.name)])
        seen = set(pending)
        while pending:
            function, name = pending.popleft()
            for use in self._in(function).get(name, ()):
                self._steps_left -= 1
                if self._steps_left < 0:
                    return weight.operator
                if use.node.operator in TENDING:
                    continue
                if use.node.operator not in CARRYING and not use.node.calls:
                    return use.node.operator
                further = set(self._further(function, use)) - seen
                seen |= further
                pending += sorted(further)
        return weight.operator

    def _further(self, function: str, use: Use) -> Iterator[tuple[str, str]]:
        """What carries the weight on: the node that passes it, or the functions that it calls."""
        if not use.node.calls:
            yield function, use.node.name
        place = use.place - (use.node.operator in CHOOSING)
        for name in use.node.calls:
            arguments = self._graph.functions[name].arguments
            if 0 <= place < len(arguments):
                yield name, arguments[place]

    def _in(self, function: str) -> Mapping[str, list[Use]]:
        """By maker; the empty name stands for the graph itself."""
        if function not in self._known:
            graph = self._graph
            nodes = graph.functions[function].nodes if function else graph.nodes
            found: dict[str, list[Use]] = {}
            for node in nodes.values():
                for place, tensor in enumerate(node.data_inputs):
                    found.setdefault(maker_and_index(tensor)[0], []).append(Use(node, place))
            self._known[function] = found
        return self._known[function]
