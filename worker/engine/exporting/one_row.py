"""A SavedModel whose loops over time take one row: what tflite needs to know of their lists.

A loop of TensorFlow keeps its steps in lists, and says of each what shape its elements have. The
batch axis of an exported model is open, so it is open there too, as a constant that no inference of
shapes can get at; the converter refuses such lists. Whether one row was the right thing to put
there shows when the file's outputs are held against the model's own.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import node_def_pb2
from tensorflow.core.protobuf import saved_model_pb2

from app.recipes.saved_model_files import GRAPH
from app.recipes.tensor_graph import maker_and_index

# By operator, which of its inputs is the shape of the list's elements.
ELEMENT_SHAPE = {
    "TensorListFromTensor": 1,
    "TensorListGetItem": 2,
    "TensorListReserve": 0,
    "TensorListStack": 1,
}
OPEN = -1


def write_for_one_row(folder: Path, target: Path) -> None:
    """Copy a SavedModel, with the first axis of every list's elements 1 where it was open."""
    shutil.copytree(folder, target)
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((target / GRAPH).read_bytes())
    for meta in saved.meta_graphs:
        _fix(meta.graph_def.node)
        for function in meta.graph_def.library.function:
            _fix(function.node_def)
    (target / GRAPH).write_bytes(saved.SerializeToString())


def _fix(nodes: Iterable[node_def_pb2.NodeDef]) -> None:
    by_name = {node.name: node for node in nodes}
    for node in by_name.values():
        place = ELEMENT_SHAPE.get(node.op)
        if place is None or place >= len(node.input):
            continue
        shape = by_name.get(maker_and_index(node.input[place])[0])
        if shape is not None and shape.op == "Const":
            _fix_shape(shape)


def _fix_shape(constant: node_def_pb2.NodeDef) -> None:
    axes = tf.make_ndarray(constant.attr["value"].tensor)
    if axes.ndim != 1 or OPEN not in axes[:1] or OPEN in axes[1:]:
        return
    fixed = np.concatenate([np.ones(1, axes.dtype), axes[1:]])
    constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(fixed))
