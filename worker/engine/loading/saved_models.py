"""Loads zipped SavedModels: unpacked under names of our own, called by their signature."""

import shutil
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import node_def_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from app.errors import ModelNotLoadable, RejectedUpload
from app.recipes.facts import Head, TensorSpec
from app.recipes.saved_model_files import GRAPH, chosen_signature, in_order, members_by_file
from app.recipes.tensor_graph import Function, Graph, Node, activation
from worker.engine.foreign import first_line, is_out_of_memory
from worker.engine.loading.splits import Array

HINT = "Save the model again with model.export or tf.saved_model.save; check that it loads."


@dataclass(frozen=True, eq=False)
class SavedModel:
    """A SavedModel in a folder of its own, loaded.

    Shapes of inputs have no batch axis. `has_one_row`: it takes one row at a time only.
    """

    folder: Path
    signature_key: str
    inputs: tuple[TensorSpec, ...]
    heads: tuple[Head, ...]
    has_one_row: bool
    is_recurrent: bool
    loaded: Any

    @property
    def signature(self) -> Any:
        return self.loaded.signatures[self.signature_key]

    @cached_property
    def weights(self) -> tuple[Array, ...]:
        """Variables that the signature computes with."""
        used = (variable for variable in self.signature.variables if variable.dtype.is_floating)
        return tuple(variable.numpy() for variable in used)

    def outputs_of(self, rows: Sequence[Array]) -> list[Array]:
        """Its own outputs, [rows, ...] each, of inputs in the signature's order."""
        named = zip((spec.name for spec in self.inputs), rows, strict=True)
        given = {name: tf.convert_to_tensor(array) for name, array in named}
        returned = self.signature(**given)
        return [np.asarray(returned[head.output]) for head in self.heads]


def load_saved_model(path: Path, folder: Path) -> SavedModel:
    """Unpack `path` into `folder` and load it from there; what it runs at load does run.

    Raises: ModelNotLoadable.
    """
    unpack(path, folder)
    meta = _meta_graph(folder)
    key = chosen_signature(in_order(meta.signature_def))
    if key is None:
        raise ModelNotLoadable("the SavedModel has no signature to call", hint=HINT)
    signature, graph = meta.signature_def[key], _graph_of(meta)
    _check_rows(signature)
    shapes = {name: _shape(signature.inputs[name].tensor_shape) for name in signature.inputs}
    return SavedModel(
        folder=folder,
        signature_key=key,
        inputs=tuple(
            TensorSpec(
                name=name, shape=_row(shapes[name]), dtype=_dtype(signature.inputs[name].dtype)
            )
            for name in in_order(signature.inputs)
        ),
        heads=tuple(
            _head(name, signature.outputs[name], graph) for name in in_order(signature.outputs)
        ),
        has_one_row=any(shape and shape[0] == 1 for shape in shapes.values()),
        is_recurrent=any("While" in operator for operator in _operators(meta)),
        loaded=_loaded(folder),
    )


def _check_rows(signature: meta_graph_pb2.SignatureDef) -> None:
    """Outputs of different rows have to be told apart."""
    for name in in_order(signature.outputs):
        shape = _shape(signature.outputs[name].tensor_shape)
        if shape == ():
            raise ModelNotLoadable(
                f"the output {name!r} is one number for all rows: it has no batch axis",
                hint="Export a model that gives an output for each row.",
            )


def unpack(path: Path, folder: Path) -> None:
    """Write the files of a SavedModel under the names that they have in every SavedModel.

    Raises: ModelNotLoadable for an archive with anything else in it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for file, member in members_by_file(archive.namelist()).items():
                _write(archive, member, folder / file)
    except (RejectedUpload, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise ModelNotLoadable(
            f"the SavedModel cannot be unpacked: {first_line(error)}", hint=HINT
        ) from error


def _write(archive: zipfile.ZipFile, member: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, target.open("wb") as written:
        shutil.copyfileobj(source, written)


def _loaded(folder: Path) -> Any:
    try:
        return tf.saved_model.load(str(folder))
    # TensorFlow raises whatever its loaders of objects raise; to the caller it is all the same.
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise ModelNotLoadable(
            f"TensorFlow {tf.__version__} cannot load the SavedModel: {first_line(error)}",
            hint=HINT,
        ) from error


def _meta_graph(folder: Path) -> meta_graph_pb2.MetaGraphDef:
    saved = saved_model_pb2.SavedModel()
    try:
        saved.ParseFromString((folder / GRAPH).read_bytes())
        return saved.meta_graphs[0]
    except (ValueError, IndexError, RuntimeError) as error:
        raise ModelNotLoadable("the SavedModel's graph cannot be read", hint=HINT) from error


def _graph_of(meta: meta_graph_pb2.MetaGraphDef) -> Graph:
    """The graph as plain values, to see how outputs end."""
    functions = {
        function.signature.name: Function(
            name=function.signature.name,
            arguments=tuple(one.name for one in function.signature.input_arg),
            results=tuple(function.ret.get(one.name, "") for one in function.signature.output_arg),
            nodes=_nodes(function.node_def),
        )
        for function in meta.graph_def.library.function
    }
    return Graph(_nodes(meta.graph_def.node), functions)


def _nodes(nodes: Iterable[node_def_pb2.NodeDef]) -> dict[str, Node]:
    return {
        node.name: Node(
            name=node.name,
            operator=node.op,
            inputs=tuple(node.input),
            calls=tuple(value.func.name for value in node.attr.values() if value.HasField("func")),
        )
        for node in nodes
    }


def _operators(meta: meta_graph_pb2.MetaGraphDef) -> set[str]:
    inside = (node.op for one in meta.graph_def.library.function for node in one.node_def)
    return {node.op for node in meta.graph_def.node} | set(inside)


def _head(name: str, info: meta_graph_pb2.TensorInfo, graph: Graph) -> Head:
    shape = _shape(info.tensor_shape)
    return Head(
        output=name,
        shape=_row(shape),
        activation=activation(graph, info.name),
        units=shape[-1] if shape and len(shape) > 1 else None,
        compiled_loss=None,
    )


def _shape(shape: Any) -> tuple[int | None, ...] | None:
    axes = tf.TensorShape(shape)
    return None if axes.rank is None else tuple(axes.as_list())


def _row(shape: tuple[int | None, ...] | None) -> tuple[int | None, ...] | None:
    return None if shape is None else shape[1:]


def _dtype(number: int) -> str:
    return str(tf.as_dtype(number).name)
