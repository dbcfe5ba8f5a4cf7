"""Recovery training: the training that follows a change, and `fine_tuning` as a whole."""

import math
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from app.recipes.division import rows_set_aside
from app.recipes.gradients import GradientQuantization
from app.recipes.losses import OVERLAPS, SMOOTHED, full_name

ModelId = Annotated[str, Field(min_length=1, max_length=64)]

Loss = Literal[
    "auto",
    "sparse_categorical_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_hinge",
    "kl_divergence",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "hinge",
    "squared_hinge",
    "dice",
    "tversky",
    "mean_squared_error",
    "mean_absolute_error",
    "huber",
    "log_cosh",
    "mean_absolute_percentage_error",
    "mean_squared_logarithmic_error",
    "poisson",
    "cosine_similarity",
]
Optimizer = Literal[
    "adam",
    "adamw",
    "sgd",
    "rmsprop",
    "nadam",
    "adamax",
    "adagrad",
    "adadelta",
    "adafactor",
    "ftrl",
    "lamb",
    "lion",
]
ClassLabel = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,6})$")]
ClassWeight = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
ClassWeights = Annotated[dict[ClassLabel, ClassWeight], Field(min_length=1, max_length=10_000)]


# What is read only where `distill` is on.
TEACHING = ("teacher_model_ids", "temperature", "distillation_weight")


class Augmentation(BaseModel):
    """How training images are varied, anew in every epoch; validation and test never are."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    shift: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="Largest shift along height and width, as a share of them; the pixels at the "
        "edge are repeated.",
    )
    flip: Literal["none", "horizontal", "vertical", "both"] = Field(
        "none", description="Mirror every image with a chance of one half, along these axes."
    )

    @model_validator(mode="after")
    def _varies_something(self) -> Self:
        if self.shift == 0 and self.flip == "none":
            raise ValueError("augmentation without shift and flip varies nothing; leave it out")
        return self


class Recovery(BaseModel):
    """How to train after a change. One optimizer step is one batch."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    epochs: int = Field(2, ge=1, le=1000, description="Passes over the training data.")
    learning_rate: float = Field(1e-3, gt=0, le=10, description="Peak learning rate.")
    batch_size: int = Field(64, ge=1, le=65536, description="Samples in one optimizer step.")
    optimizer: Optimizer = Field("adam", description="Keras optimizer; sgd runs with momentum 0.9.")
    weight_decay: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Decoupled weight decay; null = the optimizer's own: 0.004 of adamw, else 0.",
    )
    schedule: Literal["cosine", "flat_cosine", "linear", "exponential", "constant"] = Field(
        "cosine",
        description="Learning rate after the warm-up: down to 0 along half a cosine or a line, at "
        "the peak for half of the steps and then along half a cosine (flat_cosine), exponentially "
        "to 1 % of the peak, or staying there.",
    )
    warmup_steps: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="Optimizer steps in which the learning rate grows evenly to its peak, from "
        "peak / (warmup_steps + 1) in the first one.",
    )
    loss: Annotated[Loss, BeforeValidator(full_name)] = Field(
        "auto",
        description="Any that fits the head; `auto` reads the head and the labels: the "
        "cross-entropy of a classifier, the squared error of values. Distances and overlaps of a "
        "classifier are taken on its probabilities, hinges on its logits.",
    )
    label_smoothing: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Cross-entropies: share of each target spread evenly over all classes.",
    )
    class_weights: Literal["none", "balanced"] | ClassWeights = Field(
        "none",
        description="Factor of each class in the loss: balanced = rows / (classes x rows of the "
        'class); or a mapping such as {"3": 2.0}, where classes not named weigh 1.',
    )
    gradient_clip_norm: float | None = Field(
        None, gt=0, le=1e6, description="Largest norm of all gradients together."
    )
    gradient_clip_value: float | None = Field(
        None, gt=0, le=1e6, description="Largest absolute value of any gradient."
    )
    gradient_quantization: GradientQuantization | None = Field(
        None,
        description="Coding of gradients in few bits, and processes that exchange them; null = "
        "float32 in one process.",
    )
    dtype: Literal["float32", "mixed_bfloat16", "mixed_float16"] = Field(
        "float32",
        description="Type that layers compute in while training; weights and the resulting model "
        "stay float32. The mixed ones use less memory, and are slower on most CPUs.",
    )
    augmentation: Augmentation | None = Field(
        None, description="Variation of training images; null = none."
    )
    validation_fraction: float = Field(
        0.1,
        ge=0,
        le=0.5,
        description="Share of the training data kept aside to choose the best epoch; never test.",
    )
    early_stopping_patience: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="Stop after so many epochs in a row without a better one on the rows kept "
        "aside; null = train all epochs.",
    )
    distill: bool = Field(
        False,
        description="Also learn from what the teachers say: `teacher_model_ids`, else the uploaded "
        "model, or the one the step was given where that is clearly better on validation rows.",
    )
    teacher_model_ids: tuple[ModelId, ...] = Field(
        (),
        max_length=8,
        strict=False,
        description="distill: uploaded models whose answers are averaged; empty = the job's "
        "teacher_model_id, else its model.",
    )
    temperature: float = Field(
        4.0,
        gt=0,
        le=100,
        description="distill: what logits are divided by before the answers of teacher and student "
        "are compared (KL divergence); higher shows more of what teachers think of wrong classes.",
    )
    distillation_weight: float = Field(
        0.5,
        ge=0,
        le=1,
        description="distill: share of the teachers in the loss; 0 = labels alone, 1 = teachers "
        "alone.",
    )

    @model_validator(mode="after")
    def _training_parameters_have_an_effect(self) -> Self:
        """Compared with the defaults, not with what was given: a stored step holds them all."""
        patience = self.early_stopping_patience
        if patience is not None and self.validation_fraction == 0:
            raise ValueError(
                "early_stopping_patience needs rows to judge epochs by: give a validation_fraction "
                "above 0"
            )
        if patience is not None and patience >= self.epochs:
            raise ValueError(
                f"early_stopping_patience {patience} has no effect in {self.epochs} epochs: it "
                "must be below"
            )
        if self.label_smoothing and self.loss not in SMOOTHED:
            raise ValueError(f"label_smoothing has no effect on {self.loss}; leave it out")
        if self.class_weights != "none" and self.loss in OVERLAPS:
            raise ValueError(f"class_weights have no effect on {self.loss}; leave them out")
        return self

    @model_validator(mode="after")
    def _teaching_parameters_have_an_effect(self) -> Self:
        for name in TEACHING if not self.distill else ():
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} has no effect without distill: true")
        return self

    @model_validator(mode="after")
    def _teachers_are_named_once(self) -> Self:
        named = self.teacher_model_ids
        twice = next((one for place, one in enumerate(named) if one in named[:place]), None)
        if twice is not None:
            raise ValueError(f"teacher_model_ids names {twice} twice: its answers count once")
        return self

    @model_validator(mode="after")
    def _clips_in_one_way(self) -> Self:
        if self.gradient_clip_norm is not None and self.gradient_clip_value is not None:
            raise ValueError("give gradient_clip_norm or gradient_clip_value, not both")
        return self

    @model_validator(mode="after")
    def _batches_can_be_divided(self) -> Self:
        if self.workers > self.batch_size:
            raise ValueError(
                f"gradient_quantization.workers is {self.workers}, but a batch has only "
                f"{self.batch_size} rows to divide: lower it or raise batch_size"
            )
        if self.workers > 1 and self.dtype == "mixed_float16":
            raise ValueError(
                "gradient_quantization.workers above 1 and dtype mixed_float16 do not go together: "
                "each process would scale its loss in its own way. Choose mixed_bfloat16 or float32"
            )
        return self

    @property
    def workers(self) -> int:
        """Processes that train together."""
        return self.gradient_quantization.workers if self.gradient_quantization else 1

    @property
    def runs(self) -> int:
        """How often one training goes through its epochs: twice where float32 is compared."""
        coded = self.gradient_quantization
        return 2 if coded and coded.compare_with_float32 else 1


def optimizer_steps(rows: int, training: Recovery) -> int:
    """Batches in the whole training, of which the last one of an epoch may be smaller.

    rows: of the training split; those kept for validation are taken off here.
    """
    trained = rows - rows_set_aside(rows, training.validation_fraction)
    return training.epochs * math.ceil(trained / training.batch_size)
