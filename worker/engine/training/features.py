"""Hidden outputs of a student that are to become like a teacher's."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import keras

from app.errors import StepFailed
from app.recipes.facts import shape_text
from worker.engine.measuring.calling import graph_of

# The mean squared error of all entries of a pair.
COMPARISON = keras.distillation.FeatureDistillation(loss="mse")


class Features:
    """Pairs of layers, compared by squared error (Romero et al. 2015, arXiv:1412.6550, eq. 3).

    Where the widths differ a trainable linear projection of the student's last axis, which is a
    1x1 convolution, leads to the teacher's; it is thrown away after the training.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[str, str]],
        student: keras.Model,
        teacher: keras.Model,
        seed: int,
    ) -> None:
        """Raises: StepFailed for unknown layers and shapes that no projection brings together."""
        ours = [tensor_of(student, name, "student") for name, _ in pairs]
        theirs = [tensor_of(teacher, name, "teacher") for _, name in pairs]
        self._projections = [
            _projection(pair, mine, other, seed)
            for pair, mine, other in zip(pairs, ours, theirs, strict=True)
        ]
        self.of_student = _with_hidden(student, ours)
        self.of_teacher = _with_hidden(teacher, theirs)

    @property
    def trainable_variables(self) -> list[Any]:
        return [
            variable
            for projection in self._projections
            if projection is not None
            for variable in projection.trainable_variables
        ]

    def loss(self, student: Sequence[Any], teacher: Sequence[Any]) -> Any:
        """Sum over the pairs; traceable."""
        total = 0.0
        for projection, mine, other in zip(self._projections, student, teacher, strict=True):
            projected = projection(mine) if projection is not None else mine
            total += COMPARISON.compute_loss(
                keras.ops.cast(other, "float32"), keras.ops.cast(projected, "float32")
            )
        return total


def tensor_of(model: keras.Model, name: str, whose: str) -> Any:
    """What a layer of the model gives, as a symbolic tensor of its graph.

    Raises: StepFailed if there is no such layer, it is called more than once, or gives several.
    """
    # Looked for in this graph: a layer's own `output` may belong to another model it is part of.
    nodes = chain.from_iterable(graph_of(model)._nodes_by_depth.values())
    calls = [node for node in nodes if node.operation.name == name]
    tensors = [tensor for node in calls for tensor in keras.tree.flatten(node.outputs)]
    if not calls:
        known = ", ".join(layer.name for layer in model.layers)
        raise StepFailed(
            f"the {whose} {model.name!r} has no layer {name!r}. Layers: {known}",
            hint="Layers inside nested models cannot be named.",
        )
    if len(tensors) != 1:
        raise StepFailed(
            f"layer {name!r} of the {whose} {model.name!r} gives {len(tensors)} tensors, so it is "
            "not clear which one to compare",
            hint="Choose a layer that is called once and has one output.",
        )
    return tensors[0]


def _with_hidden(model: keras.Model, hidden: Sequence[Any]) -> keras.Model:
    """The same layers, giving the outputs of the model and then these."""
    return keras.Model(graph_of(model).inputs, [*keras.tree.flatten(model.outputs), *hidden])


def _projection(
    pair: tuple[str, str], student: Any, teacher: Any, seed: int
) -> keras.layers.Layer | None:
    """None where the widths are the same."""
    mine, other = tuple(student.shape[1:]), tuple(teacher.shape[1:])
    if len(mine) != len(other) or mine[:-1] != other[:-1] or None in (mine[-1:] + other[-1:]):
        raise StepFailed(
            f"the student's {pair[0]!r} gives rows of the shape {shape_text(mine)}, the teacher's "
            f"{pair[1]!r} {shape_text(other)}: only their last axes may differ",
            hint="Choose layers of the same height and width (or length).",
        )
    if mine[-1] == other[-1]:
        return None
    initializer = keras.initializers.GlorotUniform(seed=seed)
    projection = keras.layers.Dense(other[-1], kernel_initializer=initializer, dtype="float32")
    projection.build((None, *mine))
    return projection
