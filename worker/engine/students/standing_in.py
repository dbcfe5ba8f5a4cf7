"""Puts an uploaded model in the place of the job's model: its names, its order, its activations."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
from numpy.typing import NDArray

from app.errors import StepFailed
from app.recipes.facts import Head, TensorSpec, shape_text, shapes_agree
from app.recipes.keras.graph import Graph, Ref, layer_name
from app.recipes.students import REPLACEABLE, WITH_ACTIVATION, names_giving_way
from worker.engine.loading.models import heads, input_specs
from worker.engine.measuring.calling import graph_of
from worker.engine.surgery.weights import assign_weights, named_weights

Array = NDArray[Any]
Config = dict[str, Any]
Names = Mapping[str, str]


def in_the_place_of(model: keras.Model, student: keras.Model) -> keras.Model:
    """A copy of `student` that is called as `model` is and gives what that gives.

    Inputs and outputs are paired as validation pairs them: the only one with the only one, several
    by name. They get the names and the order that `model` has. An output that ends in another
    activation gets that of `model`; the numbers before it mean the same.
    Raises: StepFailed if inputs or outputs do not fit.
    """
    functional = graph_of(student)
    config: Config = functional.get_config()
    graph = Graph.of({"class_name": "Functional", "config": config})
    inputs = _input_order(input_specs(model), input_specs(student))
    wanted = heads(model, None)
    found = heads(student, None)
    outputs = _output_order(wanted, found)
    names = names_giving_way(
        [layer_name(layer) for layer in config["layers"]],
        _new_names(
            [graph.inputs[place] for place in inputs], [spec.name for spec in input_specs(model)]
        )
        | _new_names([graph.outputs[place] for place in outputs], [head.output for head in wanted]),
    )
    for head, place in zip(wanted, outputs, strict=True):
        if found[place].activation != head.activation:
            name = graph.outputs[place].layer
            if _is_used_elsewhere(graph, name):
                raise _shared(name, found[place], head)
            config = _with_activation(config, name, found[place], head)
    ordered = {
        **config,
        "input_layers": _written([graph.inputs[place] for place in inputs]),
        "output_layers": _written([graph.outputs[place] for place in outputs]),
    }
    copy = type(functional).from_config(_with_names(ordered, names))
    assign_weights(copy, dict(_renamed_weights(student, names)))
    return copy


def _input_order(ours: Sequence[TensorSpec], theirs: Sequence[TensorSpec]) -> list[int]:
    """For each input of the job's model, the place of the student's input that takes it."""
    order = _order("input", [spec.name for spec in ours], [spec.name for spec in theirs])
    for spec, place in zip(ours, order, strict=True):
        other = theirs[place]
        if not shapes_agree(spec.shape, other.shape) or spec.dtype != other.dtype:
            raise _misfit(
                f"input {other.name!r} takes {other.dtype} rows of shape {shape_text(other.shape)}",
                f"{spec.dtype} rows of shape {shape_text(spec.shape)}",
            )
    return order


def _output_order(ours: Sequence[Head], theirs: Sequence[Head]) -> list[int]:
    """For each output of the job's model, the place of the student's output that stands for it."""
    order = _order("output", [head.output for head in ours], [head.output for head in theirs])
    for head, place in zip(ours, order, strict=True):
        other = theirs[place]
        if not shapes_agree(head.shape, other.shape):
            raise _misfit(
                f"output {other.output!r} has the shape {shape_text(other.shape)}",
                shape_text(head.shape),
            )
    return order


def _order(what: str, ours: Sequence[str], theirs: Sequence[str]) -> list[int]:
    if len(ours) == len(theirs) == 1:
        return [0]
    if sorted(ours) != sorted(theirs):
        raise _misfit(f"{what}s are {', '.join(theirs)}", ", ".join(ours))
    return [theirs.index(name) for name in ours]


def _misfit(students: str, models: str) -> StepFailed:
    return StepFailed(
        f"the student does not fit the model: its {students}; the model's is {models}",
        hint="A student takes the same inputs as the job's model and gives the same outputs; "
        "several of them are paired by name.",
    )


def _new_names(refs: Sequence[Ref], names: Sequence[str]) -> dict[str, str]:
    """Layer of the student -> the name it gets."""
    found = {ref.layer: name for ref, name in zip(refs, names, strict=True)}
    if len(found) < len(names):
        raise StepFailed(
            "one layer of the student makes several of its outputs, so they cannot have the names "
            + ", ".join(names),
            hint="End each output of the student in a layer of its own.",
        )
    return found


def _is_used_elsewhere(graph: Graph, name: str) -> bool:
    """Whether something besides one output depends on how this layer ends."""
    calls = sum(layer == name for layer, _ in graph.calls)
    outputs = sum(ref.layer == name for ref in graph.outputs)
    is_read = any(ref.layer == name for fed in graph.calls.values() for ref in fed)
    return is_read or calls > 1 or outputs > 1


def _shared(name: str, found: Head, wanted: Head) -> StepFailed:
    return StepFailed(
        f"the student's output {found.output!r} ends in {found.activation}, that of the job's "
        f"model in {wanted.activation}, and this cannot be changed in its last layer, {name!r}, "
        "without changing what else uses that layer: it is called twice, or read by others",
        hint="Build the student with the activation of the job's model, or end the output in a "
        "layer of its own.",
    )


def _with_activation(config: Config, name: str, found: Head, wanted: Head) -> Config:
    """The configuration with another activation at the end of one output."""
    (layer,) = (layer for layer in config["layers"] if layer_name(layer) == name)
    is_known = {found.activation, wanted.activation} <= REPLACEABLE
    is_pair_of_probabilities = "linear" not in (found.activation, wanted.activation)
    if not is_known or is_pair_of_probabilities or layer["class_name"] not in WITH_ACTIVATION:
        raise StepFailed(
            f"the student's output {found.output!r} ends in {found.activation}, that of the job's "
            f"model in {wanted.activation}, and this cannot be changed in its last layer, a "
            f"{layer['class_name']}",
            hint="Build the student with the activation of the job's model.",
        )
    changed = {**layer, "config": {**layer["config"], "activation": wanted.activation}}
    return {**config, "layers": [changed if one is layer else one for one in config["layers"]]}


def _renamed_weights(student: keras.Model, names: Names) -> Iterator[tuple[str, Array]]:
    """By stable name, not by order: a model lists its layers by how far they are from outputs."""
    for name, weight in named_weights(student).items():
        layer, rest = name.split("/", 1)
        yield f"{names.get(layer, layer)}/{rest}", weight.numpy()


def _with_names(config: Config, names: Names) -> Config:
    """The configuration with layers renamed, wherever they are referred to."""
    layers = []
    for layer in config["layers"]:
        name = names.get(layer_name(layer), layer_name(layer))
        layers.append(
            {
                **layer,
                "name": name,
                "config": {**layer["config"], "name": name},
                "inbound_nodes": _renamed(layer["inbound_nodes"], names),
            }
        )
    ends = {key: _renamed_refs(config[key], names) for key in ("input_layers", "output_layers")}
    return {**config, **ends, "layers": layers}


def _renamed(value: Any, names: Names) -> Any:
    """What a layer was called with, at any depth, its tensors led to layers by their new names."""
    if isinstance(value, dict):
        if "keras_history" in value:
            layer, node, index = value["keras_history"]
            return {**value, "keras_history": [names.get(layer, layer), node, index]}
        return {key: _renamed(item, names) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_renamed(item, names) for item in value)
    return value


def _renamed_refs(refs: Any, names: Names) -> Any:
    if isinstance(refs[0], str):
        return [names.get(refs[0], refs[0]), *refs[1:]]
    return [_renamed_refs(ref, names) for ref in refs]


def _written(refs: Sequence[Ref]) -> list[Any]:
    """References as Keras writes them: a single one stands alone."""
    listed = [list(ref) for ref in refs]
    return listed[0] if len(listed) == 1 else listed
