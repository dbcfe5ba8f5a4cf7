"""Parameters of initialization: how weights start, and which layers start again."""

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.errors import Complaint
from app.recipes.facts import DatasetFacts, ModelFacts
from app.recipes.steps.base import Given, LayerTransform, NamedModel
from app.recipes.steps.recovery import ModelId, Recovery

Scheme = Literal[
    "uniform",
    "normal",
    "truncated_normal",
    "glorot_uniform",
    "glorot_normal",
    "he_uniform",
    "he_normal",
    "lecun_uniform",
    "lecun_normal",
    "orthogonal",
    "zeros",
    "pretrained",
]
Center = Annotated[float, Field(ge=-100, le=100)]

# Which schemes read a parameter.
_READ_BY: Mapping[str, tuple[Scheme, ...]] = {
    "minval": ("uniform",),
    "maxval": ("uniform",),
    "mean": ("normal", "truncated_normal"),
    "stddev": ("normal", "truncated_normal"),
    "gain": ("orthogonal",),
    "source_model_id": ("pretrained",),
}


class InitialWeights(BaseModel):
    """How weights start: drawn by one of Keras' initializers, or taken from another model."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    scheme: Scheme = Field(
        "glorot_uniform",
        description="How kernels are drawn, as the Keras initializer of that name draws them; "
        "`pretrained` takes the weights of another model.",
    )
    minval: Center = Field(-0.05, description="uniform: lower end of the range.")
    maxval: Center = Field(0.05, description="uniform: upper end of the range.")
    mean: Center = Field(0.0, description="normal, truncated_normal: mean.")
    stddev: float = Field(
        0.05,
        gt=0,
        le=100,
        description="normal, truncated_normal: standard deviation; truncated is redrawn beyond two "
        "of them.",
    )
    gain: float = Field(1.0, gt=0, le=100, description="orthogonal: factor.")
    source_model_id: ModelId | None = Field(
        None,
        description="pretrained: the uploaded model whose weights are taken; null = the job's "
        "model as it was uploaded (of its channels those that are left), in `distillation` the "
        "teacher.",
    )

    def schemes(self) -> tuple[Scheme, ...]:
        """Every scheme that is carried out."""
        return (self.scheme,)

    @model_validator(mode="after")
    def _every_parameter_has_an_effect(self) -> Self:
        for name, readers in _READ_BY.items():
            given = getattr(self, name)
            if given != type(self).model_fields[name].default and not set(readers) & set(
                self.schemes()
            ):
                raise ValueError(
                    f"{name} has no effect where scheme is {self.scheme}; given {given}. Leave it "
                    f"out or choose {' or '.join(readers)}"
                )
        return self

    @model_validator(mode="after")
    def _range_is_one(self) -> Self:
        if self.minval >= self.maxval:
            raise ValueError(
                f"minval must be below maxval; given minval={self.minval:g}, maxval={self.maxval:g}"
            )
        return self


class Initialization(LayerTransform, InitialWeights):
    """Start the chosen layers again: the same architecture with new weights.

    Kernels follow `scheme`. Biases, embeddings and all of a normalization start as in a new layer,
    and so do recurrent kernels unless the scheme is orthogonal, zeros or pretrained; frozen layers
    and the statistics of a Normalization stay. `pretrained` takes whole layers from another model:
    by name, else by order and shape; of a wider layer the channels with the largest L1 norm; of the
    job's own upload exactly the channels that earlier steps left (rewinding). What they pruned
    stays zero. With `recovery` the report states the loss on validation rows after 0, 1 and all
    epochs, for `scheme` and for each one in `compare`.
    """

    technique: Literal["initialization"] = "initialization"
    trains_in_replicas: ClassVar[bool] = True
    paper: ClassVar[str | None] = (
        "Glorot & Bengio 2010, AISTATS; He et al. 2015, arXiv:1502.01852; orthogonal: Saxe et al. "
        "2013, arXiv:1312.6120; rewinding: Frankle et al. 2019, arXiv:1903.01611"
    )

    compare: tuple[Scheme, ...] = Field(
        (),
        max_length=8,
        strict=False,
        description="Schemes to try beside `scheme`: from the same model, with the same seed and "
        "the same training. Each takes as long as the first.",
    )
    keep: Literal["scheme", "best"] = Field(
        "scheme",
        description="compare: go on with `scheme`, or with the one that did best on validation "
        "rows (never test).",
    )
    recovery: Recovery | None = Field(
        None, description="Training from the new weights; `compare` without one gets the default."
    )

    def schemes(self) -> tuple[Scheme, ...]:
        return (self.scheme, *self.compare)

    @model_validator(mode="before")
    @classmethod
    def _a_comparison_trains(cls, data: object) -> object:
        """It cannot do without a recovery: what the recipe says is what runs."""
        if isinstance(data, dict) and data.get("compare") and data.get("recovery") is None:
            return {**data, "recovery": {}}
        return data

    @model_validator(mode="after")
    def _schemes_can_be_compared(self) -> Self:
        if len(set(self.schemes())) < len(self.schemes()):
            raise ValueError(
                "compare names a scheme twice, or `scheme` again; all in all "
                + ", ".join(self.schemes())
            )
        if not self.compare and self.keep == "best":
            raise ValueError("keep=best has no effect without `compare`: there is one scheme")
        if self.compare and self.recovery and self.recovery.validation_fraction == 0:
            raise ValueError(
                "schemes are compared on validation rows: validation_fraction must be above 0"
            )
        return self

    def training(self) -> Recovery | None:
        return self.recovery

    def training_runs(self) -> int:
        return super().training_runs() * len(self.schemes())

    def model_ids(self) -> Iterator[NamedModel]:
        yield from super().model_ids()
        if self.source_model_id:
            yield NamedModel("/source_model_id", self.source_model_id)

    def complaints(self, given: Given) -> Iterator[Complaint]:
        yield from super().complaints(given)
        chosen = [layer for layer in given.model.layers if self.selects(layer.name)]
        if chosen and all(layer.parameter_count == 0 for layer in chosen):
            weighted = [layer.name for layer in given.model.layers if layer.parameter_count]
            yield Complaint(
                pointer="/exclude" if self.exclude else "/include",
                detail="none of the chosen layers has weights. Layers with weights: "
                + ", ".join(weighted[:20])
                + (f", ... ({len(weighted)} in all)" if len(weighted) > 20 else ""),
            )
        source = given.others.get(self.source_model_id or "")
        if source:
            yield from source_complaints(given.model, source, "/source_model_id")

    def warnings(self, dataset: DatasetFacts | None) -> Iterator[str]:
        yield from super().warnings(dataset)
        if "zeros" in self.schemes():
            yield (
                "initialization: from zeros all units of a layer learn the same, and behind a "
                "layer of zeros none learns at all; it serves as a control."
            )
        elif self.training() is None and self.scheme != "pretrained":
            yield (
                "initialization: the chosen layers know nothing until a later step trains them; "
                "give `recovery` or fine_tuning."
            )


def source_complaints(model: ModelFacts, source: ModelFacts, pointer: str) -> Iterator[Complaint]:
    """What keeps every layer of `model` from taking weights of `source`."""
    if not _kinds(model) & _kinds(source):
        yield Complaint(
            pointer=pointer,
            detail=f"no layer can take weights of that model: it has layers of the kinds "
            f"{', '.join(sorted(_kinds(source)))}; the job's model has "
            f"{', '.join(sorted(_kinds(model)))}",
        )


def _kinds(model: ModelFacts) -> set[str]:
    """Classes of the layers that have weights, as far as that is known."""
    return {layer.class_name for layer in model.layers if layer.parameter_count != 0}
