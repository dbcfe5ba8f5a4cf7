"""The order in which a TensorFlow Lite subgraph computes: what is read was there before.

An interpreter reads memory that nobody filled, or that is not there, where an operator takes what
none before it has made.
"""

from collections.abc import Sequence
from typing import Protocol

from app.errors import RejectedUpload
from app.uploads.inspector.shown import shown
from app.uploads.inspector.tflite.arity import OPTIONAL, fits
from app.uploads.inspector.tflite.tensors import Tensor


class Step(Protocol):
    """An operator by its name, what it takes and what it makes."""

    @property
    def name(self) -> str: ...
    @property
    def inputs(self) -> tuple[int, ...]: ...
    @property
    def outputs(self) -> tuple[int, ...]: ...


def check_flow(
    tensors: Sequence[Tensor],
    steps: Sequence[Step],
    inputs: Sequence[int],
    outputs: Sequence[int],
    where: str,
) -> None:
    """Raises: RejectedUpload where something is read that nothing made, or made twice."""
    made: set[int] = set()
    _make(made, inputs, tensors, where)
    for step in steps:
        by = f"{step.name} in {where}"
        if not fits(step.name, step.inputs, step.outputs):
            given = sum(index != OPTIONAL for index in step.inputs)
            raise RejectedUpload(
                f"{by} has {given} inputs and {len(step.outputs)} outputs, which it never has",
                hint="Convert the model again; check that an interpreter loads it.",
            )
        for index in step.inputs:
            _check_there(made, index, tensors, by)
        _make(made, step.outputs, tensors, by)
    for index in outputs:
        _check_there(made, index, tensors, where)


def _check_there(made: set[int], index: int, tensors: Sequence[Tensor], by: str) -> None:
    if index == OPTIONAL or index in made:
        return
    tensor = tensors[index]
    if not (tensor.is_constant or tensor.is_variable or tensor.size == 0):
        raise RejectedUpload(
            f"{by} takes the tensor {shown(tensor.name)} before anything makes it",
            hint="Convert the model again; check that an interpreter loads it.",
        )


def _make(made: set[int], indices: Sequence[int], tensors: Sequence[Tensor], by: str) -> None:
    for index in indices:
        if index in made:
            raise RejectedUpload(f"{by} makes the tensor {shown(tensors[index].name)} again")
        made.add(index)
