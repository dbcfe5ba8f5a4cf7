"""Parameters of entropy-penalized training."""

from collections.abc import Iterator
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from app.recipes.facts import DatasetFacts, ModelFacts
from app.recipes.steps.base import LayerTransform, Need, Skip
from app.recipes.steps.recovery import Recovery, optimizer_steps

NORMALIZATIONS = frozenset(
    {"BatchNormalization", "LayerNormalization", "GroupNormalization", "RMSNormalization"}
)
KEPT_FLOAT = (
    "its scale and shift stay float32; batch_norm_folding before this step puts those of a "
    "BatchNormalization into the layer before it, where they are coded"
)
FEW_STEPS = 1000


class EntropyPenalizedTraining(LayerTransform, Recovery):
    """Train weights to be few small whole numbers, for what the `packed` coder takes for them.

    Every weight is a whole number times a step that is learned with it. The loss is that of the
    data and the bits that a coder of these numbers takes, whose prices follow the densities of
    rows, columns and tensors: nearly empty ones become expensive, so inputs and units die out as a
    whole. Dead units are taken out at the end; a second step of this kind goes on from there.
    """

    technique: Literal["entropy_penalized_training"] = "entropy_penalized_training"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.TRAINING_DATA, Need.LABELS})
    paper: ClassVar[str | None] = (
        "Oktay et al. 2019, arXiv:1906.06624; rounding: Bengio et al. 2013, arXiv:1308.3432; "
        "learned steps: Esser et al. 2020, arXiv:1902.08153"
    )
    changes_structure: ClassVar[bool] = True

    rate_weight: float = Field(
        1.0,
        gt=0,
        le=1e4,
        description="Price of a bit of the model: 1 = what a bit of log-likelihood of the training "
        "data costs. Higher gives smaller files and more errors. It grows as a cubic over the "
        "first half of the training. Losses that are no log-likelihood are measured in those of "
        "the given model.",
    )
    initial_step: float = Field(
        1.0,
        ge=1e-6,
        le=10,
        description="Distance of two levels at the start as a share of a kernel's standard "
        "deviation (biases: half of it). Weights that an earlier step put on an even grid keep its "
        "step.",
    )
    smallest_step: float = Field(
        0.01,
        ge=1e-6,
        le=10,
        description="No kernel starts with a smaller step (biases: half of it).",
    )
    remove_dead_units: bool = Field(
        True,
        description="Take out units that only zeros read at the end: outputs stay the same, later "
        "steps are faster.",
    )
    epochs: int = Field(20, ge=1, le=1000, description="Passes over the training data.")
    batch_size: int = Field(128, ge=1, le=65536, description="Samples in one optimizer step.")
    schedule: Literal["cosine", "flat_cosine", "linear", "exponential", "constant"] = Field(
        "flat_cosine",
        description="Learning rate after the warm-up: as that of `fine_tuning`; flat_cosine falls "
        "once the price of a bit has come to its full height.",
    )
    distill: bool = Field(
        True,
        description="Also learn from what the teachers say: `teacher_model_ids`, else the uploaded "
        "model, or the one the step was given where that is clearly better on validation rows.",
    )
    temperature: float = Field(
        3.0,
        gt=0,
        le=100,
        description="distill: what logits are divided by before the answers of teacher and student "
        "are compared (KL divergence).",
    )

    @model_validator(mode="after")
    def _is_trained_to_the_end(self) -> Self:
        if self.early_stopping_patience is not None:
            raise ValueError(
                "early_stopping_patience would stop before the model is small: it becomes so "
                "towards the end, and the best epoch is one of the last tenth. Leave it out and "
                "choose fewer epochs"
            )
        return self

    def training(self) -> Recovery:
        return self

    def skips(self, model: ModelFacts) -> Iterator[Skip]:
        for layer in model.layers:
            if layer.class_name in NORMALIZATIONS and self.selects(layer.name):
                yield Skip(layer.name, KEPT_FLOAT)

    def warnings(self, dataset: DatasetFacts | None) -> Iterator[str]:
        yield from super().warnings(dataset)
        if dataset is None:
            return
        steps = optimizer_steps(dataset.train_rows, self)
        if steps < FEW_STEPS:
            yield (
                f"entropy_penalized_training has only {steps} optimizer steps; weights need some "
                "thousands to die out or find their level. Give it more epochs, or smaller batches."
            )
