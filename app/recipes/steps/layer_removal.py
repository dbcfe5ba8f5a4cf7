"""Parameters of layer removal."""

from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from app.errors import Complaint
from app.recipes.division import rows_set_aside
from app.recipes.facts import ModelFacts
from app.recipes.patterns import matching
from app.recipes.steps.base import Given, LayerPatterns, LayerTransform, Need, Skip
from app.recipes.steps.recovery import Recovery

OUTPUT_STAYS = "it is an output of the model, whose name would be lost"
Drop = Annotated[float, Field(ge=0, le=1)]


class LayerRemoval(LayerTransform):
    """Take whole layers and blocks out of the model; what read them reads what they read.

    Blocks are what lies between a tensor and the sum (product, join) that it comes back to; layers
    outside of blocks go alone, with their normalization and activation. Fewer layers are faster
    everywhere. What it cost is mostly won back by learning from the model as it was, which is the
    default recovery.
    """

    technique: Literal["layer_removal"] = "layer_removal"
    trains_in_replicas: ClassVar[bool] = True
    paper: ClassVar[str | None] = (
        "Block influence: Men et al. 2024, arXiv:2403.03853; removal of residual blocks: "
        "Veit et al. 2016, arXiv:1605.06431"
    )
    changes_structure: ClassVar[bool] = True

    layers: LayerPatterns = Field(
        default=(),
        description="Names or patterns of layers: the smallest span with each of them goes.",
    )
    count: int | None = Field(
        None, ge=1, le=10_000, description="How many spans go; 1 if nothing else is said."
    )
    max_accuracy_drop: Drop | None = Field(
        None,
        description="As many go as keep the accuracy (r2) on rows kept aside from training within "
        "this of what it was; measured after each removal, before recovery.",
    )
    importance: Literal["greedy", "accuracy", "block_influence"] = Field(
        "greedy",
        description="What goes first: the span whose loss is missed least, measured anew after "
        "each removal; or once, each alone; or the one that changes its input least "
        "(1 - cosine; needs no labels).",
    )
    bridge: bool = Field(
        False,
        description="Also take out what changes shapes, with a projection in its place that is "
        "fitted to the activations by least squares.",
    )
    samples: int = Field(
        1024,
        ge=16,
        le=65536,
        description="Rows that losses, accuracies and activations are measured on, at most.",
    )
    recovery: Recovery | None = Field(
        Recovery(distill=True),
        description="Training after the removal; by default it learns from the uploaded model as "
        "it was. null = none.",
    )

    @model_validator(mode="before")
    @classmethod
    def _removes_one_by_default(cls, data: object) -> object:
        if not isinstance(data, dict) or data.get("layers"):
            return data
        says_nothing = data.get("count") is None and data.get("max_accuracy_drop") is None
        return {**data, "count": 1} if says_nothing else data

    @model_validator(mode="after")
    def _says_once_what_goes(self) -> Self:
        given = [
            name
            for name, value in (
                ("layers", self.layers or None),
                ("count", self.count),
                ("max_accuracy_drop", self.max_accuracy_drop),
            )
            if value is not None
        ]
        if len(given) > 1:
            raise ValueError(
                f"{' and '.join(given)} say different things; give exactly one of layers, count, "
                "max_accuracy_drop"
            )
        return self

    def takes(self, layer_names: Sequence[str]) -> bool:
        """Whether a span of these layers may go: one of them is included, none excluded."""
        is_excluded = matching(self.exclude, layer_names)
        return not is_excluded and any(self._includes(name) for name in layer_names)

    def training(self) -> Recovery | None:
        return self.recovery

    def all_needs(self) -> frozenset[Need]:
        """Layers that are named need nothing measured; influence needs no labels."""
        needs = super().all_needs()
        if not self.layers or self.bridge:
            needs |= {Need.TRAINING_DATA}
        return needs | {Need.LABELS} if self.measures_losses() else needs

    def measures_losses(self) -> bool:
        """Whether what goes depends on losses or accuracies, on rows kept aside."""
        is_ranked_by_loss = not self.layers and self.importance != "block_influence"
        return is_ranked_by_loss or self.max_accuracy_drop is not None

    def complaints(self, given: Given) -> Iterator[Complaint]:
        """Layers the model does not have, and rows that are not kept aside."""
        names = [layer.name for layer in given.model.layers]
        for index, pattern in enumerate(self.layers):
            if not matching([pattern], names):
                yield Complaint(
                    pointer=f"/layers/{index}",
                    detail=f"{pattern!r} matches no layer. Layers: {', '.join(names[:20])}"
                    + (f", ... ({len(names)} in all)" if len(names) > 20 else ""),
                )
        yield from self._staying(given.model)
        if given.dataset is None or not self.measures_losses():
            return
        training, rows = self.training() or Recovery(), given.dataset.train_rows
        if not rows_set_aside(rows, training.validation_fraction):
            yield Complaint(
                pointer="/recovery/validation_fraction",
                detail="which layers go is measured on rows kept aside from training, and a "
                f"validation_fraction of {training.validation_fraction:g} of {rows} rows keeps "
                "none",
            )

    def skips(self, model: ModelFacts) -> Iterator[Skip]:
        for layer in model.layers:
            if layer.is_output and layer.parameter_count != 0:
                yield Skip(layer.name, OUTPUT_STAYS)

    def _staying(self, model: ModelFacts) -> Iterator[Complaint]:
        """Named layers that surely stay, and more spans than there are layers to begin them."""
        for index, pattern in enumerate(self.layers):
            if any(layer.is_output and layer.name == pattern for layer in model.layers):
                yield Complaint(
                    pointer=f"/layers/{index}",
                    detail=f"layer {pattern!r} cannot be removed: {OUTPUT_STAYS}",
                )
        # A span is called after a layer; a nested model is one, too, but its last layer is none.
        able = sum(
            not layer.is_output and layer.class_name != "InputLayer" for layer in model.layers
        )
        if self.count is not None and self.count > able:
            yield Complaint(
                pointer="/count",
                detail=f"count is {self.count}, but the model has only {able} layers beside its "
                "inputs and outputs; no more spans than that can go",
            )
