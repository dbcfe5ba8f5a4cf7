"""Which tensors of a model an integer runtime holds as integers: where ranges are needed.

A tensor that the runtime never has, because the operator before it goes on to clamp or normalize
it (a convolution with its BatchNormalization and ReLU), needs none.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

import keras

from app.recipes.keras.graph import Ref
from worker.engine.quantizing.kinds import (
    FUSED,
    Kind,
    activation_of,
    fixed_limits,
    float_reason,
    has_weighted_activation,
    kind_of,
)
from worker.engine.surgery.wiring import Call, Level, Structure


class Place(StrEnum):
    """Which tensor of a call: what it returns, or what its own activation is given."""

    AFTER = "after"
    BEFORE_ACTIVATION = "before_activation"


@dataclass(frozen=True)
class Point:
    """One tensor with a range of its own.

    `name` is the same for the same tensor of a rebuilt model: the path of the layer, then the call
    (`#1` is the second one), then `:before_activation`. `layer` is the layer's own name. `limits`
    are fixed by runtimes (a softmax is within 0 and 1); null = they follow from data. Points of one
    `group` have one range, because runtimes do not rescale between them.
    """

    name: str
    level: str
    ref: Ref
    place: Place
    layer: str
    group: str
    limits: tuple[float, float] | None = None


@dataclass(frozen=True)
class LeftFloat:
    """A layer that integer runtimes compute in float for want of ranges inside it, and why."""

    layer: str
    reason: str


def points_of(model: keras.Model) -> tuple[Point, ...]:
    """Every tensor that needs a range, producers first; nested models once, however often called.

    model: without fake quantization.
    """
    structure = Structure.of(model)
    found = [point for level in structure.levels for point in _points(level)]
    return tuple(_grouped(found, structure))


def left_float(model: keras.Model) -> tuple[LeftFloat, ...]:
    """The layers that have no integer form, in the model's order."""
    return tuple(
        LeftFloat(name, reason)
        for level in Structure.of(model).levels
        for name, operation in level.operations.items()
        if (reason := _float_reason(level, operation))
    )


def is_output(level: Level, ref: Ref) -> bool:
    """Whether a tensor is an output of the whole model, not only of a nested one."""
    return not level.path and ref in level.wiring.outputs


def holds_its_range(level: Level, ref: Ref) -> bool:
    """Whether the range after a call lies inside its layer, in the layer's activation.

    So an output of the model is called after the layer that makes it, as it was before.
    """
    made_outputs = {made.layer for made in level.wiring.outputs} if not level.path else ()
    operation = level.operations[ref.layer]
    is_open = hasattr(operation, "activation") and not has_weighted_activation(operation)
    return ref.layer in made_outputs and is_open


def point_name(level: str, ref: Ref, place: Place) -> str:
    """The name of the point at a tensor."""
    call = f"#{ref.node}" if ref.node else ""
    port = f".{ref.output}" if ref.output else ""
    suffix = "" if place is Place.AFTER else f":{place}"
    return f"{level}{ref.layer}{call}{port}{suffix}"


def _points(level: Level) -> Iterator[Point]:
    if not level.path:
        for ref in level.wiring.inputs:
            if _is_real(level, ref) and not _is_scaled_first(level, ref):
                yield _point(level, ref, Place.AFTER)
    for call in level.wiring.calls:
        yield from _points_of_call(level, call)


def _points_of_call(level: Level, call: Call) -> Iterator[Point]:
    operation = level.operations[call[0]]
    kind = kind_of(operation)
    refs = [ref for ref in level.wiring.made.get(call, ()) if _is_real(level, ref)]
    if kind in (Kind.MODEL, Kind.KEEPS_RANGE):
        return
    activation = activation_of(operation)
    # What lies inside a layer is the same in all its calls: one range. The small model that would
    # hold it leaves lengths open, with which an activation has no weights.
    is_apart = activation not in FUSED and not has_weighted_activation(operation)
    if kind is Kind.WEIGHTED and is_apart and call[1] == 0:
        for ref in refs:
            yield _point(level, ref, Place.BEFORE_ACTIVATION)
    for ref in refs:
        if not _is_fused_with_its_reader(level, ref):
            point = replace(_point(level, ref, Place.AFTER), limits=fixed_limits(activation))
            yield replace(point, group=call[0]) if holds_its_range(level, ref) else point


def _point(level: Level, ref: Ref, place: Place) -> Point:
    name = point_name(level.path, ref, place)
    return Point(name, level.path, ref, place, layer=ref.layer, group=name)


def _is_real(level: Level, ref: Ref) -> bool:
    """Whether it holds real numbers; one that carries a mask would lose it in a bare operation."""
    tensor = level.tensors[ref]
    return "float" in str(tensor.dtype) and getattr(tensor, "_keras_mask", None) is None


def _is_scaled_first(level: Level, ref: Ref) -> bool:
    """Whether the model scales an input itself: then it stays float up to there.

    One integer scale for features of different ranges would leave the narrow ones no values.
    """
    readers = level.wiring.readers.get(ref, ())
    return bool(readers) and all(
        kind_of(level.operations[layer]) is Kind.SCALES_INPUTS for layer, _ in readers
    )


def _is_fused_with_its_reader(level: Level, ref: Ref) -> bool:
    """Whether the only reader is computed by the operator that makes the tensor."""
    readers = level.wiring.readers.get(ref, ())
    if len(readers) != 1 or ref in level.wiring.outputs:
        return False
    made_by, reader = level.operations[ref.layer], level.operations[readers[0][0]]
    if activation_of(made_by) != "linear":
        return False
    is_sum = kind_of(made_by) is Kind.WEIGHTED
    if isinstance(reader, keras.layers.BatchNormalization):
        return is_sum
    is_normalized = isinstance(made_by, keras.layers.BatchNormalization)
    can_clamp = is_sum or is_normalized or kind_of(made_by) is Kind.ARITHMETIC
    is_clamp = kind_of(reader) is Kind.ACTIVATION and activation_of(reader) in ("relu", "relu6")
    return can_clamp and is_clamp


def _float_reason(level: Level, operation: object) -> str | None:
    if not isinstance(operation, keras.layers.BatchNormalization):
        return float_reason(operation)
    calls = [call for call in level.wiring.calls if call[0] == operation.name]
    if all(_is_fused_with_its_reader(level, level.wiring.calls[call][0]) for call in calls):
        return None
    return "no convolution or dense layer comes right before it that it could become part of"


def _grouped(points: list[Point], structure: Structure) -> Iterator[Point]:
    """Joins the groups of what goes into an operator that does not rescale with what comes out."""
    by_tensor = {(point.level, point.ref): point for point in points if point.place is Place.AFTER}
    leader = {point.group: point.group for point in points}
    for level, call, fed in _sharing_calls(structure):
        made = by_tensor.get((level.path, Ref(*call, 0)))
        for ref in fed if made else ():
            source = by_tensor.get((level.path, origin_of(level, ref)))
            if made and source and source.limits is None:
                _unite(leader, source.group, made.group)
    for point in points:
        yield replace(point, group=_root(leader, point.group))


def _sharing_calls(structure: Structure) -> Iterator[tuple[Level, Call, tuple[Ref, ...]]]:
    for level in structure.levels:
        for call, fed in level.wiring.calls.items():
            if kind_of(level.operations[call[0]]) is Kind.SHARES_RANGE:
                yield level, call, fed


def origin_of(level: Level, ref: Ref) -> Ref:
    """The tensor whose range this one has: what was there before layers that keep ranges."""
    fed = level.wiring.calls.get((ref.layer, ref.node), ())
    while len(fed) == 1 and kind_of(level.operations[ref.layer]) is Kind.KEEPS_RANGE:
        ref = fed[0]
        fed = level.wiring.calls.get((ref.layer, ref.node), ())
    return ref


def _root(leader: Mapping[str, str], group: str) -> str:
    while leader[group] != group:
        group = leader[group]
    return group


def _unite(leader: dict[str, str], one: str, other: str) -> None:
    first, second = _root(leader, one), _root(leader, other)
    leader[second] = first
