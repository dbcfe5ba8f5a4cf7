"""Recovery training: the training that follows a change, and `fine_tuning` as a whole."""

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.recipes.division import rows_set_aside

ModelId = Annotated[str, Field(min_length=1, max_length=64)]

Loss = Literal[
    "auto",
    "sparse_categorical_crossentropy",
    "categorical_crossentropy",
    "binary_crossentropy",
    "mean_squared_error",
    "mean_absolute_error",
    "huber",
]


class Recovery(BaseModel):
    """How to train after a change. One optimizer step is one batch."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    epochs: int = Field(2, ge=1, le=1000, description="Passes over the training data.")
    learning_rate: float = Field(1e-3, gt=0, le=10, description="Peak learning rate.")
    batch_size: int = Field(64, ge=1, le=65536, description="Samples in one optimizer step.")
    optimizer: Literal["adam", "adamw", "sgd", "rmsprop", "nadam"] = Field(
        "adam", description="Keras optimizer; sgd runs with momentum 0.9."
    )
    loss: Loss = Field("auto", description="`auto` reads the head and the labels.")
    validation_fraction: float = Field(
        0.1,
        ge=0,
        le=0.5,
        description="Share of the training data kept aside to choose the best epoch; never test.",
    )
    distill: bool = Field(
        False,
        description="Also learn from what the teachers say: the uploaded model as it was, or "
        "`teacher_model_ids`.",
    )
    teacher_model_ids: tuple[ModelId, ...] = Field(
        (),
        max_length=8,
        strict=False,
        description="distill: uploaded models whose answers are averaged; empty = the job's "
        "teacher_model_id, else its model.",
    )


def optimizer_steps(rows: int, training: Recovery) -> int:
    """Batches in the whole training, of which the last one of an epoch may be smaller.

    rows: of the training split; those kept for validation are taken off here.
    """
    trained = rows - rows_set_aside(rows, training.validation_fraction)
    return training.epochs * math.ceil(trained / training.batch_size)
