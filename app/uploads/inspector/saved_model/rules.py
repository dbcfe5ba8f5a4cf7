"""What a graph may compute with: operators on lists, calls that lead somewhere and end."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from app.errors import RejectedUpload
from app.recipes.tensor_graph import Function, Graph, Node, maker_and_index
from app.uploads.inspector.saved_model.operators import COMPUTING, READING, SAVING
from app.uploads.inspector.saved_model.saver import Interchangeable, Saver
from app.uploads.inspector.saved_model.wire import broken
from app.uploads.inspector.topological_order import node_in_cycle

MAX_CALL_DEPTH = 100
# TensorFlow puts called functions in the place of their calls: so many operators at the most.
MAX_INLINED = 2_000_000


class Extent(NamedTuple):
    """A function with all that it calls: how many operators, and how many calls in each other."""

    operators: int
    depth: int


def check_operators(graph: Graph, saver: Saver) -> None:
    """Every operator, in the graph and in all functions, is on the list that applies to it.

    Raises: RejectedUpload.
    """
    _check_nodes(graph.nodes.values(), COMPUTING, "the graph")
    for function in graph.functions.values():
        allowed = COMPUTING
        if function.name == saver.save_function:
            allowed = COMPUTING | SAVING
        elif function.name == saver.restore_function:
            allowed = COMPUTING | READING
        _check_nodes(function.nodes.values(), allowed, f"function {function.name!r}")


def check_references(graph: Graph) -> None:
    """Every tensor that is taken is made, by nothing that waits for it; all functions are there.

    Raises: RejectedUpload.
    """
    _check_scope(graph, graph.nodes, frozenset(), "the graph")
    for function in graph.functions.values():
        arguments, what = frozenset(function.arguments), f"function {function.name!r}"
        _check_scope(graph, function.nodes, arguments, what)
        for tensor in function.results:
            _check_made(tensor, function.nodes, arguments, what)


def check_calls(graph: Graph, interchangeable: Interchangeable) -> None:
    """No function calls itself, over whichever others, and all calls together stay bounded.

    Raises: RejectedUpload.
    """
    peers = {name: names for names in interchangeable.values() for name in names}
    extents: dict[str, Extent] = {}
    for name in graph.functions:
        _measure(graph, name, peers, extents)
    called = (name for node in graph.nodes.values() for name in node.calls)
    total = len(graph.nodes) + sum(extents[name].operators for name in called)
    if total > MAX_INLINED:
        raise RejectedUpload(
            f"the functions of the SavedModel call each other so often that it has {total} "
            f"operators; {MAX_INLINED} are allowed"
        )


def _check_nodes(nodes: Iterable[Node], allowed: frozenset[str], where: str) -> None:
    for node in nodes:
        if node.operator not in allowed:
            raise RejectedUpload(
                f"the operator {node.operator!r} is not allowed (node {node.name!r} in {where})",
                hint=_hint(node.operator),
            )


def _hint(operator: str) -> str:
    if operator in READING | SAVING:
        return "Variables are restored and saved by the functions of TensorFlow 2's saver alone."
    if operator in ("Enter", "Exit", "Merge", "NextIteration", "Switch", "VariableV2"):
        return "This is a graph of TensorFlow 1; save the model with TensorFlow 2."
    return (
        "Models may compute, not read, write, print or call out. Rebuild this part with Keras "
        "layers, or save the model as .keras."
    )


def _check_scope(
    graph: Graph, nodes: Mapping[str, Node], arguments: frozenset[str], where: str
) -> None:
    for node in nodes.values():
        for tensor in node.inputs:
            _check_made(tensor, nodes, arguments, f"node {node.name!r} in {where}")
        for name in node.calls:
            if name not in graph.functions:
                raise broken(f"node {node.name!r} in {where}", f"it calls {name!r}, no function")
    _check_order(nodes, where)


def _check_order(nodes: Mapping[str, Node], where: str) -> None:
    """They can be computed one after the other."""
    needs = {
        name: {maker_and_index(tensor)[0] for tensor in node.inputs} & nodes.keys()
        for name, node in nodes.items()
    }
    if (stuck := node_in_cycle(needs)) is not None:
        raise broken(f"node {stuck!r} in {where}", "it waits for what it makes")


def _check_made(
    tensor: str, nodes: Mapping[str, Node], arguments: frozenset[str], what: str
) -> None:
    name, _ = maker_and_index(tensor)
    if name not in nodes and name not in arguments:
        raise broken(what, f"it takes {tensor[:80]!r}, which nothing makes")


def _measure(
    graph: Graph, start: str, peers: Mapping[str, list[str]], extents: dict[str, Extent]
) -> None:
    """The extent of a function, after those of all that it calls."""
    path: dict[str, Iterator[str]] = {}
    if start not in extents:
        path[start] = _called(graph.functions[start], peers)
    while path:
        name, rest = next(reversed(path.items()))
        called = next((one for one in rest if one not in extents), None)
        if called is None:
            del path[name]
            extents[name] = _extent(graph.functions[name], peers, extents)
            continue
        if called in path:
            raise RejectedUpload(
                f"the function {called!r} of the SavedModel calls itself, by way of {name!r}",
                hint="Repetition is done with while loops.",
            )
        path[called] = _called(graph.functions[called], peers)


def _called(function: Function, peers: Mapping[str, list[str]]) -> Iterator[str]:
    for node in function.nodes.values():
        for name in node.calls:
            yield from peers.get(name, (name,))


def _extent(
    function: Function, peers: Mapping[str, list[str]], extents: Mapping[str, Extent]
) -> Extent:
    """Raises: RejectedUpload where the calls go too deep."""
    operators, depth = len(function.nodes), 0
    for node in function.nodes.values():
        for name in node.calls:
            either = [extents[one] for one in peers.get(name, (name,))]
            operators += max(one.operators for one in either)
            depth = max(depth, *(one.depth for one in either))
    if depth >= MAX_CALL_DEPTH:
        raise RejectedUpload(
            f"the functions of the SavedModel call each other more than {MAX_CALL_DEPTH} deep "
            f"(from {function.name!r})"
        )
    return Extent(min(operators, 2 * MAX_INLINED), depth + 1)
