"""Lengths of a model's tensors, also where inputs leave them open: those are tried with one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import keras

from app.recipes.keras.graph import Shape
from worker.engine.measuring.calling import graph_of
from worker.engine.surgery.wiring import nodes_in_order

# Halved five times it is still whole, as networks that shrink and grow again ask for.
TRIED_LENGTH = 224


@dataclass(frozen=True)
class Lengths:
    """Identity of every symbolic tensor of a model, in all levels -> its shape.

    `is_exact` says that the model leaves no length open (a nested one may: it is called with some).
    Otherwise these are shapes for the tried length. Empty where nothing is open anywhere, and where
    the model does not take that length.
    """

    shapes: Mapping[int, Shape]
    is_exact: bool

    @classmethod
    def of(cls, model: keras.Model) -> Self:
        if not _has_open(model):
            return cls({}, is_exact=True)
        inputs = graph_of(model).inputs
        given = [
            keras.KerasTensor(
                (tensor.shape[0], *(TRIED_LENGTH if n is None else n for n in tensor.shape[1:])),
                tensor.dtype,
            )
            for tensor in inputs
        ]
        is_exact = all(None not in tensor.shape[1:] for tensor in inputs)
        try:
            return cls(dict(_shapes(model, given)), is_exact)
        # A layer says in its own way that it cannot be called with a length.
        except (ValueError, TypeError):
            return cls({}, is_exact=False)

    def shape(self, tensor: keras.KerasTensor) -> Shape:
        """With its batch axis; open lengths are null."""
        known = self.shapes.get(id(tensor)) if self.is_exact else None
        return known or tuple(tensor.shape)

    def keeps_open(self, one: keras.KerasTensor, other: keras.KerasTensor) -> bool:
        """Whether lengths that both leave open are the same."""
        first, second = self.shape(one)[1:], self.shape(other)[1:]
        is_open = [None in pair for pair in zip(first, second, strict=False)]
        if not any(is_open):
            return True
        tried = (self.shapes.get(id(one), ())[1:], self.shapes.get(id(other), ())[1:])
        pairs = list(zip(*tried, strict=False))
        return len(pairs) == len(is_open) and all(
            a == b for (a, b), matters in zip(pairs, is_open, strict=True) if matters
        )


def _has_open(model: keras.Model) -> bool:
    nodes = nodes_in_order(model)
    tensors = (tensor for node in nodes for tensor in node.output_tensors)
    return any(None in tensor.shape[1:] for tensor in tensors) or any(
        _has_open(node.operation) for node in nodes if isinstance(node.operation, keras.Model)
    )


def _shapes(model: keras.Model, inputs: Sequence[Any]) -> Iterator[tuple[int, Shape]]:
    known: dict[int, Any] = {
        id(tensor): given for tensor, given in zip(graph_of(model).inputs, inputs, strict=True)
    }
    for node in nodes_in_order(model):
        if node.is_input:
            continue
        arguments, options = node.arguments.fill_in(known)
        if isinstance(node.operation, keras.Model):
            yield from _shapes(node.operation, keras.tree.flatten(arguments))
        results = keras.tree.flatten(node.operation.compute_output_spec(*arguments, **options))
        known.update(zip(map(id, node.output_tensors), results, strict=True))
    yield from ((identity, tuple(tensor.shape)) for identity, tensor in known.items())
