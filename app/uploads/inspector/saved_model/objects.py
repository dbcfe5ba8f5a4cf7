"""The object graph: what Python makes of a SavedModel when it is loaded."""

import re
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import NamedTuple

from app.recipes.tensor_graph import Graph
from app.uploads.inspector.saved_model.messages import (
    BARE_FUNCTION,
    CAPTURED,
    CHILD,
    FUNCTION_OBJECT,
    MAP,
    OBJECTS,
    PLAIN_OBJECT,
    RESOURCE,
    SAVED_OBJECT,
    VARIABLE,
)
from app.uploads.inspector.saved_model.names import check_device, checked_name
from app.uploads.inspector.saved_model.saver import Saver
from app.uploads.inspector.saved_model.tensors import full_shape, read_type
from app.uploads.inspector.saved_model.wire import Message, Wire, broken

MAX_OBJECTS = 200_000
# What TensorFlow and Keras 3 write, and the names that Keras 2 gave its objects; without Keras 2,
# which no job imports, TensorFlow makes plain objects of all of them.
KINDS = re.compile(
    r"_generic_user_object|signature_map|optimizer|experimentalOptimizer"
    r"|trackable_(list|dict|tuple)_wrapper|tf_keras_\w+|_tf_keras_\w+"
)


class Variable(NamedTuple):
    name: str
    shape: tuple[int, ...]
    dtype: str


class Objects(NamedTuple):
    """Variables and children by the number of their object, the root being 0."""

    children: tuple[Mapping[str, int], ...]
    variables: Mapping[int, Variable]

    def variable_at(self, path: list[str]) -> int | None:
        """The object that is reached from the root by these names, if it is a variable."""
        at: int | None = 0
        for name in path:
            at = self.children[at].get(name) if at is not None and self.children else None
        return at if at in self.variables else None


def read_objects(wire: Wire, data: bytes, graph: Graph, saver: Saver) -> Objects:
    """Raises: RejectedUpload for assets, classes with loaders of their own, and loose ends."""
    objects = wire.read(data, OBJECTS, "objects")
    callable_ones = graph.functions.keys() - saver.functions
    _check_functions(
        wire.map(objects.many("functions"), MAP, "functions of objects"), callable_ones
    )
    count = len(objects.many("objects"))
    if count > MAX_OBJECTS:
        raise broken("objects", f"there are more than {MAX_OBJECTS}")
    children: list[Mapping[str, int]] = []
    variables: dict[int, Variable] = {}
    for number, one in enumerate(objects.many("objects")):
        what = f"object {number}"
        read = wire.read(one, SAVED_OBJECT, what)
        _check_functions(_functions(wire, read, what), callable_ones)
        children.append(_children(wire, read.many("children"), count, what))
        if "plain" in read:
            _check_kind(wire, read.data("plain"), what)
        if "resource" in read:
            check_device(wire.read(read.data("resource"), RESOURCE, what).text("device"), what)
        if "variable" in read:
            variables[number] = _variable(wire, read.data("variable"), what)
    return Objects(tuple(children), variables)


def _functions(wire: Wire, read: Message, what: str) -> Iterator[str]:
    """The functions of the graph that an object lets Python call."""
    if "function" in read:
        yield from wire.read(read.data("function"), FUNCTION_OBJECT, what).texts("functions")
    for field, schema in (("bare_function", BARE_FUNCTION), ("captured", CAPTURED)):
        if field in read:
            yield wire.read(read.data(field), schema, what).text("function")


def _check_functions(names: Iterable[str], callable_ones: Set[str]) -> None:
    for name in names:
        if name not in callable_ones:
            raise broken(f"objects, at the function {name[:80]!r}", "it is no function for them")


def _children(wire: Wire, entries: list[bytes], count: int, what: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for data in entries:
        child = wire.read(data, CHILD, what)
        number = child.number("object")
        if not 0 <= number < count:
            raise broken(what, f"its child {number} is not there")
        found[child.text("name")] = number
    return found


def _check_kind(wire: Wire, data: bytes, what: str) -> None:
    kind = wire.read(data, PLAIN_OBJECT, what).text("kind")
    if not KINDS.fullmatch(kind):
        raise broken(what, f"it is of the unknown kind {kind[:80]!r}")


def _variable(wire: Wire, data: bytes, what: str) -> Variable:
    variable = wire.read(data, VARIABLE, what)
    name = variable.text("name")
    check_device(variable.text("device"), what)
    return Variable(
        name=checked_name(name, "variable") if name else what,
        shape=full_shape(wire, variable.data("shape"), what),
        dtype=read_type(variable.number("dtype"), what),
    )
