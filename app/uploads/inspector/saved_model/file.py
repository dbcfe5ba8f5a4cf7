"""Reads a zipped SavedModel: what it is, if everything in it is allowed. Nothing is unpacked."""

import zipfile
from collections.abc import Mapping, Set
from typing import BinaryIO

from app.errors import RejectedUpload
from app.recipes.facts import Head, ModelFacts, ModelFormat, TensorSpec
from app.recipes.saved_model_files import GRAPH, members_by_file
from app.recipes.tensor_graph import Graph, activation, maker_and_index
from app.uploads.archive import open_archive
from app.uploads.archive_members import read_member
from app.uploads.inspector.saved_model.attributes import CUSTOM_GRADIENT
from app.uploads.inspector.saved_model.contents import Contents, size_of
from app.uploads.inspector.saved_model.graph import GraphReader
from app.uploads.inspector.saved_model.messages import (
    COLLECTION,
    GRADIENT,
    MAP,
    META_GRAPH,
    META_INFO,
    NODE_LIST,
    REGISTERED_GRADIENT,
    SAVED_MODEL,
    SAVER,
)
from app.uploads.inspector.saved_model.objects import Objects, read_objects
from app.uploads.inspector.saved_model.rules import (
    check_calls,
    check_operators,
    check_references,
)
from app.uploads.inspector.saved_model.saver import Saver, check_saver, read_saver
from app.uploads.inspector.saved_model.signature import (
    Port,
    Signature,
    init_nodes,
    read_signature,
)
from app.uploads.inspector.saved_model.variables import check_variables
from app.uploads.inspector.saved_model.wire import Message, Wire, broken

MAX_GRAPH_BYTES = 64 * 2**20
SERVING = "serve"
# Names of nodes to run at load; everything else is a relic of TensorFlow 1.
COLLECTIONS = frozenset({"saved_model_main_op"})


def read_saved_model(file: BinaryIO) -> ModelFacts:
    """What a SavedModel computes, and with what.

    Raises: RejectedUpload with the rule that is broken, and where.
    """
    wire = Wire()
    with open_archive(file) as archive:
        files = members_by_file(archive.namelist())
        meta = _meta_graph(wire, read_member(archive, files[GRAPH], MAX_GRAPH_BYTES))
        return _read(wire, meta, archive, files)


def _read(
    wire: Wire, meta: Message, archive: zipfile.ZipFile, files: Mapping[str, str]
) -> ModelFacts:
    reader = GraphReader(wire)
    graph = reader.read(meta.data("graph"))
    saver = read_saver(wire.read(meta.data("saver"), SAVER, "its saver"), graph)
    check_operators(graph, saver)
    check_references(graph)
    check_calls(graph, reader.interchangeable)
    check_saver(saver, graph, reader.interchangeable)
    _check_gradients(wire, reader.library, graph.functions.keys() - saver.functions)
    _check_at_load(wire, meta, graph, saver)
    signature = read_signature(wire, meta.many("signatures"), graph)
    _check_apart(signature, saver)
    objects = read_objects(wire, meta.data("objects"), graph, saver)
    contents = Contents(graph, [port.tensor for port in signature.outputs])
    _check_is_float32(contents)
    _check_variables_are_known(contents, objects)
    check_variables(wire, archive, files, objects)
    return _facts(graph, signature, contents)


def _meta_graph(wire: Wire, content: bytes) -> Message:
    """The one graph of the file."""
    graphs = wire.read(content, SAVED_MODEL, GRAPH).many("meta_graphs")
    if len(graphs) != 1:
        raise RejectedUpload(
            f"the SavedModel has {len(graphs)} graphs where one is allowed",
            hint="Save it again with tf.saved_model.save or model.export.",
        )
    meta = wire.read(graphs[0], META_GRAPH, "meta graph")
    tags = wire.read(meta.data("meta_info"), META_INFO, "meta graph").texts("tags")
    if tags != (SERVING,):
        raise RejectedUpload(
            f"the graph of the SavedModel is tagged {', '.join(tags)[:80]!r}; "
            f"{SERVING!r} alone is allowed",
            hint="Save it again with tf.saved_model.save or model.export.",
        )
    if meta.many("assets"):
        raise RejectedUpload(
            "the SavedModel reads asset files",
            hint="Give vocabularies in the layer's configuration, and export without assets.",
        )
    return meta


def _check_gradients(wire: Wire, library: Message, functions: Set[str]) -> None:
    """Derivatives stand for functions of the file, under names that TensorFlow gives them."""
    for data in library.many("gradients"):
        gradient = wire.read(data, GRADIENT, "gradient")
        for name in (gradient.text("function"), gradient.text("gradient")):
            if name not in functions:
                raise broken("gradient", f"{name[:80]!r} is no function")
    for data in library.many("registered_gradients"):
        registered = wire.read(data, REGISTERED_GRADIENT, "gradient")
        name, operator = registered.text("function"), registered.text("operator")
        if name not in functions or not CUSTOM_GRADIENT.fullmatch(operator):
            raise broken("gradient", f"{name[:80]!r} is registered for {operator[:80]!r}")


def _check_at_load(wire: Wire, meta: Message, graph: Graph, saver: Saver) -> None:
    """What runs when the model is loaded is there, and is not the saver."""
    names = set(init_nodes(wire, meta.many("signatures")))
    for key, entry in wire.map(meta.many("collections"), MAP, "collections").items():
        if key not in COLLECTIONS:
            raise broken("collections", f"there is {key[:80]!r}, which TensorFlow 2 does not write")
        collection = wire.read(entry.data("value"), COLLECTION, key)
        names |= set(wire.read(collection.data("node_list"), NODE_LIST, key).texts("names"))
    for name in names:
        maker = maker_and_index(name)[0]
        if maker not in graph.nodes or maker in saver.nodes:
            raise RejectedUpload(f"the SavedModel runs {name[:80]!r} when it is loaded")


def _check_apart(signature: Signature, saver: Saver) -> None:
    for port in (*signature.inputs, *signature.outputs):
        if maker_and_index(port.tensor)[0] in saver.nodes:
            raise RejectedUpload(f"the signature gives {port.name!r} out of the model's saver")


def _check_is_float32(contents: Contents) -> None:
    """A TensorFlow Lite file has no products in 16 bits, and is what every job measures."""
    if contents.half:
        raise RejectedUpload(
            f"the SavedModel computes in {contents.half}",
            hint="Export it in float32 (the dtype policy float32), or upload the .keras file.",
        )


def _check_variables_are_known(contents: Contents, objects: Objects) -> None:
    """Variables are restored through the object graph; a graph of TensorFlow 1 has none."""
    if contents.weights and not objects.variables:
        raise RejectedUpload(
            "the SavedModel has variables that nothing restores",
            hint="Save it with TensorFlow 2: tf.saved_model.save or model.export.",
        )


def _facts(graph: Graph, signature: Signature, contents: Contents) -> ModelFacts:
    layers = contents.layers()
    return ModelFacts(
        format=ModelFormat.SAVED_MODEL,
        class_name="SavedModel",
        inputs=tuple(_spec(port) for port in signature.inputs),
        outputs=tuple(_spec(port) for port in signature.outputs),
        heads=tuple(_head(graph, port) for port in signature.outputs),
        layers=layers,
        layer_count=len(layers),
        parameter_count=sum(map(size_of, contents.weights)),
        is_recurrent=contents.is_recurrent,
        is_quantized=contents.is_quantized,
        keras_version=None,
    )


def _spec(port: Port) -> TensorSpec:
    shape = None if port.shape is None else port.shape[1:]
    return TensorSpec(name=port.name, shape=shape, dtype=port.dtype)


def _head(graph: Graph, port: Port) -> Head:
    return Head(
        output=port.name,
        shape=None if port.shape is None else port.shape[1:],
        activation=activation(graph, port.tensor),
        units=port.shape[-1] if port.shape and len(port.shape) > 1 else None,
        compiled_loss=None,
    )
