"""The names and shapes under which an exported model is called."""

import keyword
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import keras

from app.errors import ExportFailed
from worker.engine.loading.models import heads, input_specs

# What both TensorFlow and a tflite signature keep unchanged.
SAFE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")

SIGNATURE_KEY = "serving_default"

Shape = tuple[int | None, ...]
RowShapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Port:
    """One input or output: its name in the model, and the name it has in an exported file.

    `shape` has the batch axis first; null is an axis of any length.
    """

    name: str
    exported_name: str
    shape: Shape
    dtype: str

    @property
    def is_open(self) -> bool:
        """Whether an axis other than the batch has no fixed length."""
        return None in self.shape[1:]


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs in the model's order."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


def signature_of(model: keras.Model) -> Signature:
    """How a Functional or Sequential model is called."""
    return Signature(
        inputs=tuple(_ports([spec.name for spec in input_specs(model)], model.inputs, "input")),
        outputs=tuple(
            _ports([head.output for head in heads(model, None)], model.outputs, "output")
        ),
    )


def shape_of_rows(port: Port, row_shapes: RowShapes, batch: int | None) -> Shape:
    """The port's shape with open axes as long as the data set's rows are.

    Raises: ExportFailed if an axis is open and no data tells its length.
    """
    if port.is_open and port.name not in row_shapes:
        raise ExportFailed(
            f"input {port.name!r} has shape {port.shape[1:]}, which leaves a length open; a "
            "tflite file needs fixed lengths",
            hint="Give a data set (its rows have a length) or a model with fixed input shapes.",
        )
    row = row_shapes[port.name] if port.is_open else port.shape[1:]
    return (batch, *row)


def _ports(names: Sequence[str], tensors: Sequence[keras.KerasTensor], role: str) -> Iterator[Port]:
    used: set[str] = set()
    for index, (name, tensor) in enumerate(zip(names, tensors, strict=True)):
        exported_name = name if _is_usable(name) and name not in used else f"{role}_{index}"
        used.add(exported_name)
        yield Port(name, exported_name, tuple(tensor.shape), str(tensor.dtype))


def _is_usable(name: str) -> bool:
    """A signature's input becomes the parameter of a Python function, which `in` cannot be."""
    return SAFE_NAME.fullmatch(name) is not None and not keyword.iskeyword(name)
