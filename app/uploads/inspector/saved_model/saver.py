"""The part of a graph that restores and saves variables: two functions and three nodes, by name.

Restoring runs whenever TensorFlow loads the model, with the name of the variables' files as its
argument. So the functions may use no other file name, and nothing else may use the functions.
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from app.errors import RejectedUpload
from app.recipes.tensor_graph import CALLING, Function, Graph, Node, maker_and_index
from app.uploads.inspector.saved_model.wire import Message, broken

Interchangeable = Mapping[str, list[str]]
# What the saver itself puts behind the file name.
ENDING = re.compile(rb"\.part|_temp(_[0-9a-f]{32})?/part")
# By operator, which of its inputs is a file name.
FILE_NAMES = {"MergeV2Checkpoints": (0, 1), "RestoreV2": (0,), "SaveV2": (0,)}


class Saver(NamedTuple):
    """Names; empty where the model has no variables, and so no saver."""

    nodes: frozenset[str] = frozenset()
    filename: str = ""
    save_function: str = ""
    restore_function: str = ""

    @property
    def functions(self) -> frozenset[str]:
        """Nobody else may call them, nor be given them to call."""
        return frozenset({self.save_function, self.restore_function} - {""})


def read_saver(saver: Message, graph: Graph) -> Saver:
    """What the saver's definition names, if it is as TensorFlow 2 writes it.

    Raises: RejectedUpload.
    """
    names = [saver.text(field) for field in ("filename_tensor", "save_tensor", "restore_operator")]
    if not any(names):
        return Saver()
    filename, save, restore = (maker_and_index(name)[0] for name in names)
    placeholder = graph.nodes.get(filename)
    if placeholder is None or placeholder.operator != "Placeholder":
        raise broken("its saver", "the file name is not given by a placeholder")
    return Saver(
        nodes=frozenset({filename, save, restore}),
        filename=filename,
        save_function=_function(graph, save, filename),
        restore_function=_function(graph, restore, filename),
    )


def check_saver(saver: Saver, graph: Graph, interchangeable: Interchangeable) -> None:
    """Raises: RejectedUpload."""
    if not saver.nodes:
        return
    _check_unused(saver, graph)
    for implemented, names in interchangeable.items():
        if saver.functions & set(names):
            raise broken("its saver", f"it stands in for {implemented[:80]!r}")
    for name in sorted(saver.functions):
        function = graph.functions[name]
        for node in function.nodes.values():
            for place in FILE_NAMES.get(node.operator, ()):
                _check_file_name(node, place, function)


def _function(graph: Graph, name: str, filename: str) -> str:
    """The function that a node of the saver calls with the file name first."""
    node = graph.nodes.get(name)
    if node is None or node.operator not in CALLING or len(node.calls) != 1:
        raise RejectedUpload(
            f"the saver's node {name[:80]!r} calls no function",
            hint="This is a saver of TensorFlow 1; save the model with TensorFlow 2.",
        )
    function = graph.functions.get(node.calls[0])
    takes_name = bool(node.data_inputs) and maker_and_index(node.data_inputs[0])[0] == filename
    if function is None or not function.arguments or not takes_name:
        raise broken(f"node {name!r} of its saver", "it is not called with the file name")
    return function.name


def _check_unused(saver: Saver, graph: Graph) -> None:
    """Nothing but the saver takes what its nodes give, or calls its functions."""
    for where, node in _all_nodes(graph):
        if where is None and node.name in saver.nodes:
            continue
        makers = {maker_and_index(tensor)[0] for tensor in node.inputs}
        if saver.functions & set(node.calls) or (where is None and makers & saver.nodes):
            raise RejectedUpload(
                f"node {node.name!r} in {where or 'the graph'} uses the saver of the SavedModel",
                hint="Restoring and saving is left to whoever loads the model.",
            )


def _all_nodes(graph: Graph) -> Iterator[tuple[str | None, Node]]:
    """Every node with the function it is in; null for the graph itself."""
    for node in graph.nodes.values():
        yield None, node
    for function in graph.functions.values():
        for node in function.nodes.values():
            yield f"function {function.name!r}", node


def _check_file_name(node: Node, place: int, function: Function) -> None:
    given = node.data_inputs[place] if place < len(node.data_inputs) else ""
    if not _is_given(given, function):
        raise RejectedUpload(
            f"{node.operator} (node {node.name!r} in function {function.name!r}) uses a file name "
            "that is not the one the saver is given",
            hint="Save the model again with tf.saved_model.save or model.export.",
        )


def _is_given(tensor: str, function: Function) -> bool:
    """Whether a text is the function's own argument, with no more than the saver's endings."""
    pending, seen = [tensor], {function.arguments[0]}
    while pending:
        name, _ = maker_and_index(pending.pop())
        if name in seen:
            continue
        seen.add(name)
        made_of = _texts_of(function.nodes.get(name), function.nodes)
        if not made_of:
            return False
        pending += made_of
    return bool(tensor)


def _texts_of(node: Node | None, nodes: Mapping[str, Node]) -> tuple[str, ...]:
    """The file names that a node makes its own of; none where it makes it of anything else."""
    if node is None or not node.data_inputs:
        return ()
    first, *rest = node.data_inputs
    if node.operator == "Pack":
        return node.data_inputs
    if node.operator == "StringJoin":
        has_separator = any(node.texts)
        is_ended = not has_separator and all(_is_ending(one, nodes) for one in rest)
        return (first,) if is_ended else ()
    return (first,) if node.operator in ("Identity", "ShardedFilename") else ()


def _is_ending(tensor: str, nodes: Mapping[str, Node]) -> bool:
    node = nodes.get(maker_and_index(tensor)[0])
    if node is not None and node.operator == "Select":
        chosen = [nodes.get(maker_and_index(one)[0]) for one in node.data_inputs[1:]]
        return all(one is not None and _is_ending_text(one) for one in chosen)
    return node is not None and _is_ending_text(node)


def _is_ending_text(node: Node) -> bool:
    is_text = node.operator == "Const" and len(node.texts) == 1
    return is_text and ENDING.fullmatch(node.texts[0]) is not None
