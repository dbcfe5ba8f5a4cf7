"""The graph of a SavedModel as plain values: nodes, functions, signatures; every name looked at."""

from collections.abc import Iterable, Mapping

from app.errors import RejectedUpload
from app.recipes.tensor_graph import LINEAR, Function, Graph, Made, Node
from app.uploads.inspector.saved_model.attributes import (
    Attributes,
    check_calls_nothing,
    check_text,
    functions_in,
    read_made,
)
from app.uploads.inspector.saved_model.messages import (
    ARGUMENT,
    ARGUMENT_ATTRIBUTES,
    ATTRIBUTE,
    ATTRIBUTES,
    FUNCTION,
    FUNCTION_SIGNATURE,
    GRAPH,
    LIBRARY,
    MAP,
    NODE,
)
from app.uploads.inspector.saved_model.names import check_device, checked_name, checked_tensor
from app.uploads.inspector.saved_model.tensors import full_shape, read_constant, read_type
from app.uploads.inspector.saved_model.wire import Message, Wire, broken

# About eight times the largest network of keras.applications.
MAX_NODES = 200_000
MAX_FUNCTIONS = 20_000
MAX_MADE_UP_BYTES = 64 * 2**20
# Functions that TensorFlow may call in each other's place; Keras 2 writes about ten for an LSTM.
MAX_PEERS = 50
VARIABLE = "VarHandleOp"
CALL = "StatefulPartitionedCall"
JOIN = "StringJoin"
WHOLE = "the graph"


class GraphReader:
    """Reads one graph. `gradients` are the functions that stand for derivatives of others.

    `interchangeable`: functions by the name of what they implement; TensorFlow may call any of
    them in another's place.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._nodes = 0
        self._made_up_bytes = 0
        self.interchangeable: dict[str, list[str]] = {}
        self.library = Message("library", {})

    def read(self, data: bytes) -> Graph:
        """Raises: RejectedUpload."""
        graph = self._wire.read(data, GRAPH, "graph")
        self.library = self._wire.read(graph.data("library"), LIBRARY, "library")
        functions: dict[str, Function] = {}
        for one in self.library.many("functions"):
            function = self._function(one)
            if function.name in functions:
                raise broken(f"function {function.name!r}", "it is there twice")
            functions[function.name] = function
            if len(functions) > MAX_FUNCTIONS:
                raise RejectedUpload(f"the SavedModel has more than {MAX_FUNCTIONS} functions")
        nodes = self._node_map(graph.many("nodes"), WHOLE)
        called = {
            name: one._replace(nodes=_with_calls_by_name(one.nodes, functions))
            for name, one in functions.items()
        }
        return Graph(_with_calls_by_name(nodes, functions), called)

    def _function(self, data: bytes) -> Function:
        function = self._wire.read(data, FUNCTION, "function")
        signature = self._wire.read(function.data("signature"), FUNCTION_SIGNATURE, "function")
        name = checked_name(signature.text("name"), "function")
        what = f"function {name!r}"
        if signature.many("attributes"):
            raise broken(what, "it has attributes that its caller gives")
        self._note_implements(name, function)
        arguments = self._arguments(signature.many("inputs"), what)
        returned = self._wire.map(function.many("results"), MAP, what)
        outputs = self._arguments(signature.many("outputs"), what)
        if set(outputs) != set(returned):
            raise broken(what, "its results are not those that it declares")
        nodes = self._node_map(function.many("nodes"), what)
        if set(nodes) & set(arguments):
            raise broken(what, "a node is called as an argument is")
        results = tuple(checked_tensor(returned[one].text("value"), what) for one in outputs)
        return Function(name, arguments, results, nodes)

    def _note_implements(self, name: str, function: Message) -> None:
        what = f"function {name!r}"
        attributes = self._wire.map(function.many("attributes"), MAP, what)
        check_calls_nothing(self._wire, attributes, what)
        if "api_implements" in attributes:
            entry = attributes["api_implements"]
            value = self._wire.read(entry.data("value"), ATTRIBUTE, what)
            self._note_peer(value.text("bytes"), name)
        for data in function.many("argument_attributes"):
            argument = self._wire.read(data, ARGUMENT_ATTRIBUTES, what)
            said = self._wire.read(argument.data("value"), ATTRIBUTES, what)
            entries = self._wire.map(said.many("attributes"), MAP, what)
            check_calls_nothing(self._wire, entries, f"an argument of {what}")

    def _note_peer(self, implemented: str, name: str) -> None:
        peers = self.interchangeable.setdefault(implemented, [])
        peers.append(name)
        if len(peers) > MAX_PEERS:
            raise broken(f"function {name!r}", f"it stands in for more than {MAX_PEERS} others")

    def _arguments(self, arguments: list[bytes], what: str) -> tuple[str, ...]:
        read = [self._wire.read(one, ARGUMENT, what) for one in arguments]
        if any("number_attribute" in one or "type_list_attribute" in one for one in read):
            raise broken(what, "an argument of it stands for several tensors")
        names = tuple(checked_name(one.text("name"), "argument") for one in read)
        if len(set(names)) != len(names):
            raise broken(what, "two of its arguments have the same name")
        return names

    def _node_map(self, nodes: Iterable[bytes], where: str) -> dict[str, Node]:
        found: dict[str, Node] = {}
        for data in nodes:
            self._nodes += 1
            if self._nodes > MAX_NODES:
                raise RejectedUpload(
                    f"the SavedModel has more than {MAX_NODES} operators",
                    hint="Models of this size cannot be looked through here.",
                )
            node = self._node(data, where)
            if node.name in found:
                raise broken(f"node {node.name!r} in {where}", "it is there twice")
            found[node.name] = node
        return found

    def _node(self, data: bytes, where: str) -> Node:
        node = self._wire.read(data, NODE, f"a node in {where}")
        name = checked_name(node.text("name"), "node")
        what = f"node {name!r} in {where}"
        operator = checked_name(node.text("operator"), "operator")
        check_device(node.text("device"), what)
        kept = self._attributes(node, operator, what, is_outer=where == WHOLE)
        inputs = tuple(checked_tensor(one, what) for one in node.texts("inputs"))
        return Node(name, operator, inputs, *kept)

    def _attributes(self, node: Message, operator: str, what: str, *, is_outer: bool) -> Attributes:
        """Of a node; `is_outer`: one that a signature may name."""
        calls: list[str] = []
        shape: tuple[int, ...] | None = None
        dtype: str | None = None
        texts: tuple[bytes, ...] = ()
        entries = self._wire.map(node.many("attributes"), MAP, what)
        values = {
            key: self._wire.read(entry.data("value"), ATTRIBUTE, what)
            for key, entry in entries.items()
        }
        for key, value in values.items():
            if len(value.names()) > 1:
                raise broken(what, f"its attribute {key[:80]!r} has several values")
            check_text(self._wire, key, value, what)
            calls += functions_in(self._wire, value, what)
            if "tensor" in value:
                if key != "value":
                    raise broken(what, f"its attribute {key[:80]!r} holds a tensor")
                constant = read_constant(self._wire, value.data("tensor"), f"constant {what}")
                self._count_made_up(constant.unstored_bytes, what)
                shape, dtype, texts = constant.shape, constant.dtype, constant.texts
            elif operator == JOIN and key == "separator":
                texts = (value.data("bytes"),)
            elif operator == VARIABLE and key == "shape":
                shape = full_shape(self._wire, value.data("shape"), what)
            elif (operator == VARIABLE and key == "dtype") or (operator in LINEAR and key == "T"):
                dtype = read_type(value.number("type"), what)
        made = read_made(self._wire, operator, values, what) if is_outer else Made()
        return Attributes(tuple(calls), shape, dtype, texts, made)

    def _count_made_up(self, unstored_bytes: int, what: str) -> None:
        self._made_up_bytes += unstored_bytes
        if self._made_up_bytes > MAX_MADE_UP_BYTES:
            raise RejectedUpload(
                f"{what} of the SavedModel declares constants that are larger than what is stored, "
                f"over all by more than {MAX_MADE_UP_BYTES} bytes"
            )


def _with_calls_by_name(
    nodes: Mapping[str, Node], functions: Mapping[str, Function]
) -> dict[str, Node]:
    """A function may stand in the place of an operator, and comes before one of the same name."""
    return {
        name: node._replace(operator=CALL, calls=(*node.calls, node.operator))
        if node.operator in functions
        else node
        for name, node in nodes.items()
    }
