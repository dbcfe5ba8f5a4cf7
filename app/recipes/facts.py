"""What inspection understood of a model and of a data set; pure data, no framework."""

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class ModelFormat(StrEnum):
    """Formats a model may be uploaded in."""

    KERAS = "keras"
    H5 = "h5"
    TFLITE = "tflite"
    SAVED_MODEL = "saved_model"


DatasetFormat = Literal["npz", "csv", "parquet", "images"]
FLOAT32_MAX = 3.4028235e38


class Facts(BaseModel):
    """Outputs have no defaults: a fact that could not be read is null."""

    model_config = ConfigDict(frozen=True)


class TensorSpec(Facts):
    """An input or output of a model. `shape` has no batch axis; an unknown length is null.

    `shape` itself is null where a file does not state it and it was not worked out.
    """

    name: str
    shape: tuple[int | None, ...] | None
    dtype: str


class LayerSpec(Facts):
    """One layer as configured: its name, its Keras class, its weights if known.

    `removable_units` are its channels where they can surely be taken out; null where only the
    engine can tell, and in inspections from before this was looked at. `activation` is its name
    as a recipe says it, "linear" where there is none; null as before. `is_output` says that what
    the layer gives is surely an output of the model; false where that was not looked at.
    """

    name: str
    class_name: str
    parameter_count: int | None
    removable_units: int | None = None
    activation: str | None = None
    is_output: bool = False


Activation = Literal["softmax", "sigmoid", "linear", "other"]
CompiledLoss = Literal[
    "sparse_categorical_crossentropy",
    "categorical_crossentropy",
    "binary_crossentropy",
    "regression",
]


class Head(Facts):
    """How one output ends: the last activation, its width, and what the model was compiled with.

    `activation` is "other" where the end is not a plain softmax, sigmoid or linear one. `shape` is
    that of the output without the batch axis; null where a file does not tell.
    """

    output: str
    shape: tuple[int | None, ...] | None
    activation: Activation
    units: int | None
    compiled_loss: CompiledLoss | None


class ModelFacts(Facts):
    """Inspection of an uploaded model. `notes` say what could not be known of it, and why."""

    format: ModelFormat
    class_name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    heads: tuple[Head, ...]
    layers: tuple[LayerSpec, ...]
    layer_count: int
    parameter_count: int
    is_recurrent: bool
    is_quantized: bool
    keras_version: str | None
    notes: tuple[str, ...] = ()


class InputArray(Facts):
    """One input of a data set. `shape` has no row axis; `minimum`/`maximum` are raw values."""

    name: str | None
    shape: tuple[int, ...]
    dtype: str
    minimum: float
    maximum: float


class LabelArray(Facts):
    """One label array: whole numbers, one-hot rows, or real values.

    `class_count` is the number of distinct labels (integer) or columns (one_hot); null for real.
    `maximum` + 1 is the least number of classes a head must have for integer labels. `classes` are
    the names of the classes 0, 1, ... where the file tells them.
    """

    name: str | None
    shape: tuple[int, ...]
    dtype: str
    encoding: Literal["integer", "one_hot", "multi_hot", "real"]
    class_count: int | None
    minimum: float
    maximum: float
    classes: tuple[str, ...] | None = None


class DatasetFacts(Facts):
    """Inspection of an uploaded data set. Rows are counted after splitting."""

    format: DatasetFormat
    train_rows: int
    test_rows: int
    is_split_here: bool
    inputs: tuple[InputArray, ...]
    labels: tuple[LabelArray, ...]
    notes: tuple[str, ...]


class DatasetOptions(BaseModel):
    """How an uploaded data set is to be read: query parameters of its upload."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    scale: float = Field(1.0, description="value = raw x * scale + offset (inputs only).")
    offset: float = Field(0.0, description="value = raw x * scale + offset (inputs only).")
    test_fraction: float = Field(
        0.2, gt=0, lt=1, description="Rows kept for testing where the file has no test split."
    )
    label: str | None = Field(
        None, max_length=200, description="csv, parquet: name of the label column."
    )

    @field_validator("scale")
    @classmethod
    def _keeps_values_apart(cls, scale: float) -> float:
        if scale == 0:
            raise ValueError("a scale of 0 would make all values the same")
        return scale

    def note_on(self, values: InputArray) -> str | None:
        """What is likely to be forgotten: pixels that the model wants between 0 and 1."""
        if values.dtype != "uint8" or values.maximum <= 1 or self.scale != 1:
            return None
        return (
            f"{values.name or 'x'}: whole numbers up to {values.maximum:g} and no scale was given; "
            "a model that was trained on values from 0 to 1 needs scale=1/255"
        )

    def is_float32_safe(self, values: InputArray) -> bool:
        """Whether every value, scaled and moved, is a finite float32."""
        ends = (end * self.scale + self.offset for end in (values.minimum, values.maximum))
        return all(abs(end) <= FLOAT32_MAX for end in ends)


def shape_fits(data: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    """True where every known axis agrees; both without the row axis."""
    return len(data) == len(wanted) and all(
        there is None or there == here for here, there in zip(data, wanted, strict=True)
    )


def shapes_agree(one: tuple[int | None, ...] | None, other: tuple[int | None, ...] | None) -> bool:
    """True unless two known axes differ, or their number does."""
    if one is None or other is None:
        return True
    return len(one) == len(other) and all(
        here is None or there is None or here == there
        for here, there in zip(one, other, strict=True)
    )


def shape_text(shape: tuple[int | None, ...] | None) -> str:
    """A shape without its row axis, for people."""
    if shape is None:
        return "unknown"
    return "(" + ", ".join("any" if axis is None else str(axis) for axis in shape) + ")"
