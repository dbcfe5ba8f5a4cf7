"""How the layers of a model call each other, level by level, read from its Keras graph.

A configuration tells the same, but counts the calls of nested models in two ways at once; the graph
itself does not.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import keras

from app.recipes.keras.graph import Ref
from worker.engine.measuring.calling import graph_of

# The n-th call of a layer (from 0) within one level.
Call = tuple[str, int]


@dataclass(frozen=True)
class Wiring:
    """The calls of one level in topological order, each with the tensors it is given.

    Model inputs are tensors that no call makes. Nested models are called like layers. `masks` are
    the tensors that say which steps count: they are made and read beside the data, and no path of
    theirs parts from it or joins it.
    """

    calls: Mapping[Call, tuple[Ref, ...]]
    masks: Mapping[Call, tuple[Ref, ...]]
    inputs: tuple[Ref, ...]
    outputs: tuple[Ref, ...]

    @cached_property
    def readers(self) -> Mapping[Ref, Sequence[Call]]:
        """Who is given a tensor, be it as a mask; outputs of the level are not counted."""
        found: dict[Ref, list[Call]] = defaultdict(list)
        for call, fed in self.calls.items():
            for ref in dict.fromkeys((*fed, *self.masks[call])):
                found[ref].append(call)
        return found

    @cached_property
    def made(self) -> Mapping[Call, Sequence[Ref]]:
        """The tensors of each call that are read or are outputs."""
        found: dict[Call, list[Ref]] = defaultdict(list)
        for ref in dict.fromkeys((*self.readers, *self.outputs)):
            found[ref.layer, ref.node].append(ref)
        return found

    @cached_property
    def times_called(self) -> Mapping[str, int]:
        counts: dict[str, int] = defaultdict(int)
        for layer, _ in self.calls:
            counts[layer] += 1
        return counts


@dataclass(frozen=True)
class Level:
    """A model or one nested in it. `path` leads to it: "" or "backbone/".

    `operations` are its layers, nested models and bare operations by name.
    """

    path: str
    model: keras.Model
    wiring: Wiring
    tensors: Mapping[Ref, keras.KerasTensor]
    operations: Mapping[str, Any]


@dataclass(frozen=True)
class Structure:
    """All levels of a model, outer ones first; a nested model that occurs twice is here once.

    `shared` holds the identities of what is used more than once, itself or with the model it is in.
    """

    levels: tuple[Level, ...]
    shared: frozenset[int]

    @classmethod
    def of(cls, model: keras.Model) -> Self:
        found = tuple(_levels(model, "", set()))
        uses: Counter[int] = Counter()
        for level in found:
            for name, times in level.wiring.times_called.items():
                uses[id(level.operations[name])] += times
        shared = {identity for identity, times in uses.items() if times > 1}
        for level in found:
            if id(level.model) in shared:
                shared.update(map(id, level.operations.values()))
        return cls(found, frozenset(shared))


def nodes_in_order(model: keras.Model) -> list[Any]:
    """The Keras nodes of one level, producers before readers; those of inputs too."""
    by_depth = graph_of(model)._nodes_by_depth
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]


def refs_of(model: keras.Model) -> dict[int, Ref]:
    """Identity of every symbolic tensor of one level -> its reference, as configurations have it.

    Only calls of this level count: a layer may have been called outside of it as well.
    """
    nodes = nodes_in_order(model)
    own = {id(node) for node in nodes}
    refs: dict[int, Ref] = {}
    for operation in graph_of(model).operations:
        calls = [node for node in operation._inbound_nodes if id(node) in own]
        for number, node in enumerate(calls):
            for index, tensor in enumerate(node.output_tensors):
                refs[id(tensor)] = Ref(operation.name, number, index)
    return refs


def _levels(model: keras.Model, path: str, seen: set[int]) -> Iterator[Level]:
    level = _level(model, path)
    yield level
    for name, operation in level.operations.items():
        if isinstance(operation, keras.Model) and id(operation) not in seen:
            seen.add(id(operation))
            yield from _levels(operation, f"{path}{name}/", seen)


def _level(model: keras.Model, path: str) -> Level:
    refs = refs_of(model)
    graph = graph_of(model)
    nodes = nodes_in_order(model)
    calls: dict[Call, tuple[Ref, ...]] = {}
    masks: dict[Call, tuple[Ref, ...]] = {}
    for node in nodes:
        if not node.is_input:
            call = _call(refs[id(node.output_tensors[0])])
            data, beside = _given(node)
            calls[call] = tuple(refs[id(tensor)] for tensor in data)
            masks[call] = tuple(refs[id(tensor)] for tensor in beside)
    wiring = Wiring(
        calls=calls,
        masks=masks,
        inputs=tuple(refs[id(tensor)] for tensor in graph.inputs),
        outputs=tuple(refs[id(tensor)] for tensor in graph.outputs),
    )
    return Level(
        path=path,
        model=model,
        wiring=wiring,
        tensors={refs[id(t)]: t for node in nodes for t in node.output_tensors},
        operations={operation.name: operation for operation in graph.operations},
    )


def _given(node: Any) -> tuple[list[Any], list[Any]]:
    """The tensors that a layer is called with, data and masks: Keras gives those by name."""
    options = node.arguments.kwargs
    is_layer = isinstance(node.operation, keras.Layer)
    names = {name for name in options if is_layer and name.endswith("mask")}
    data = (node.arguments.args, [value for name, value in options.items() if name not in names])
    return _tensors(data), _tensors([options[name] for name in names])


def _tensors(structure: Any) -> list[Any]:
    return [item for item in keras.tree.flatten(structure) if isinstance(item, keras.KerasTensor)]


def _call(ref: Ref) -> Call:
    return ref.layer, ref.node
