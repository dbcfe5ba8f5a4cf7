"""Whether what comes into a layer fits it, where that is beyond doubt; Keras fails where not.

What is not looked at here is found by building the model, which a job does.
"""

import math
from collections.abc import Sequence

from app.recipes.keras.graph import Config
from app.uploads.inspector.keras.names import is_operation
from app.uploads.inspector.keras.shapes import Shape

MERGES = frozenset({"Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract"})


def fits(layer: Config, fed: Sequence[Shape | None]) -> bool:
    """False where a layer surely cannot be called on tensors of these shapes."""
    shapes = [shape for shape in fed if shape is not None]
    kind, config = layer["class_name"], layer["config"]
    if len(shapes) < len(fed) or not shapes or is_operation(layer.get("module")):
        return True
    if kind in MERGES:
        return _agree(shapes, {1})
    if kind == "Concatenate":
        return _agree(_without(shapes, config.get("axis", -1)), set())
    if kind == "Dense":
        return len(shapes[0]) > 1 and shapes[0][-1] is not None
    if kind == "Reshape":
        return _holds(shapes[0][1:], config["target_shape"])
    return True


def _agree(shapes: Sequence[Shape], any_length: set[int]) -> bool:
    """Whether they are the same beyond the batch axis, as far as they are known.

    Args:
        any_length: lengths that go with any other.
    """
    if len({len(shape) for shape in shapes}) > 1:
        return True
    axes = (set(axis) - {None} - any_length for axis in list(zip(*shapes, strict=True))[1:])
    return all(len(lengths) <= 1 for lengths in axes)


def _without(shapes: Sequence[Shape], axis: int) -> list[Shape]:
    """The same, as if nothing were known of this axis."""
    return [
        [*shape[:at], None, *shape[at + 1 :]] for shape in shapes for at in (axis % len(shape),)
    ]


def _holds(inside: Sequence[int | None], target: Sequence[int]) -> bool:
    """Whether a target shape, of which one axis may be -1, has as many values as come in."""
    if None in inside or any(axis == 0 for axis in (*inside, *target)):
        return True
    there = math.prod(axis for axis in inside if axis is not None)
    wanted = math.prod(axis for axis in target if axis != -1)
    return there % wanted == 0 if -1 in target else there == wanted
