"""Parameters of channel pruning."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from app.errors import Complaint
from app.recipes.facts import DatasetFacts, LayerSpec, ModelFacts
from app.recipes.steps.base import Fraction, Given, LayerTransform, Need, Skip
from app.recipes.steps.recovery import Recovery

DEFAULT_RATIO = 0.5
ATTENTION = "MultiHeadAttention"
# Kinds of which each channel of the output is one that the layer makes.
MAKING = frozenset(
    {"Dense", "Conv1D", "Conv2D", "Conv3D"}
    | {"Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"}
)
LabelledData = frozenset({Need.TRAINING_DATA, Need.LABELS})


class ChannelPruning(LayerTransform):
    """Take whole channels, units and heads out: the model itself becomes smaller and faster.

    Channels that belong together go together (those of a residual stream, of a squeeze and its
    excitation ...), and only if every layer that makes them is chosen. What feeds an output, and
    what is not understood, stays and is named. At least one unit of every layer stays.
    """

    technique: Literal["channel_pruning"] = "channel_pruning"
    trains_in_replicas: ClassVar[bool] = True
    paper: ClassVar[str | None] = (
        "Li et al. 2017, arXiv:1608.08710; groups: Fang et al. 2023, arXiv:2301.12900; "
        "taylor: Molchanov et al. 2019, arXiv:1906.10771; bn_scale: Liu et al. 2017, "
        "arXiv:1708.06519; global: Fang et al. 2024, arXiv:2407.04616"
    )
    changes_structure: ClassVar[bool] = True

    pruning_ratio: Fraction | None = Field(
        None,
        description="Share of the channels taken out, in [0, 1): of every layer, or of all chosen "
        f"layers together (scope). {DEFAULT_RATIO:g} where target_macs_ratio is not given either.",
    )
    target_macs_ratio: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)] | None = Field(
        None,
        description="In place of pruning_ratio: share of the model's multiply-accumulates that is "
        "left, in (0, 1). Met within 2 %, or from below where channels are too coarse for that.",
    )
    importance: Literal["l1", "l2", "taylor", "bn_scale", "random"] = Field(
        "l1",
        description="What is lowest goes first: the norm of the weights that make a channel, the "
        "squared change of the loss without it to first order (needs labels), the scale of its "
        "BatchNormalization, or chance (for comparison).",
    )
    taylor_batches: int = Field(
        32, ge=1, le=10_000, description="taylor: batches of 64 training rows it looks at."
    )
    scope: Literal["per_layer", "global"] = Field(
        "per_layer",
        description="Take the same share of every layer, or rank the channels of all chosen layers "
        "together, by importance relative to the mean of their kind of layer.",
    )
    channel_multiple: int = Field(
        1,
        ge=1,
        le=256,
        description="What is left of a layer is a multiple of this many channels; layers that are "
        "no wider stay as they are. 8 suits most processors.",
    )
    steps: int = Field(
        1,
        ge=1,
        le=100,
        description="Rounds of taking out and training; each takes an equal part, and the epochs "
        "(and warm-up) of `recovery` are divided among them, what is left over going to the last.",
    )
    recovery: Recovery | None = Field(
        None,
        description="Training afterwards, zeros of earlier pruning held; several rounds without "
        "one get the default, with one epoch for each round at least.",
    )

    @model_validator(mode="before")
    @classmethod
    def _half_goes_if_nothing_is_said(cls, data: object) -> object:
        asked = ("pruning_ratio", "target_macs_ratio")
        if isinstance(data, dict) and all(data.get(name) is None for name in asked):
            return {**data, "pruning_ratio": DEFAULT_RATIO}
        return data

    @model_validator(mode="before")
    @classmethod
    def _several_rounds_recover(cls, data: object) -> object:
        """Rounds cannot do without a recovery: what the recipe says is what runs."""
        rounds = data.get("steps") if isinstance(data, dict) else None
        if not isinstance(data, dict) or not isinstance(rounds, int) or rounds < 2:
            return data
        if data.get("recovery") is not None:
            return data
        default = Recovery.model_fields["epochs"].default
        return {**data, "recovery": {"epochs": max(default, rounds)}}

    @model_validator(mode="after")
    def _parameters_agree(self) -> Self:
        if self.pruning_ratio is not None and self.target_macs_ratio is not None:
            raise ValueError(
                f"give pruning_ratio or target_macs_ratio, not both; given {self.pruning_ratio:g} "
                f"and {self.target_macs_ratio:g}"
            )
        default = type(self).model_fields["taylor_batches"].default
        if self.importance != "taylor" and self.taylor_batches != default:
            raise ValueError(
                f"taylor_batches has no effect where importance is {self.importance}; given "
                f"{self.taylor_batches}. Leave it out or choose another importance"
            )
        if self.recovery is not None and self.recovery.epochs < self.steps:
            raise ValueError(
                f"recovery.epochs must be at least steps, one for each round; given "
                f"{self.recovery.epochs} epochs for {self.steps} rounds"
            )
        return self

    def all_needs(self) -> frozenset[Need]:
        """The gradients that taylor looks at are those of the labels' loss."""
        needs = super().all_needs()
        return needs | LabelledData if self.importance == "taylor" else needs

    def training(self) -> Recovery | None:
        """The recovery of all rounds together."""
        return self.recovery

    def of_round(self, number: int) -> Self:
        """The step with the recovery of one round (from 1) alone."""
        training = self.training()
        if training is None:
            return self
        epochs, left_over = divmod(training.epochs, self.steps)
        if number == self.steps:
            epochs += left_over
        warmup_steps = training.warmup_steps * epochs // training.epochs
        recovery = training.model_copy(update={"epochs": epochs, "warmup_steps": warmup_steps})
        return self.model_copy(update={"steps": 1, "recovery": recovery})

    def would_empty(self, units: int) -> bool:
        """Whether its share of so many units, rounded, is all of them. One alone always stays."""
        if self.scope == "global" or self.pruning_ratio is None:
            return False
        return 1 < units < 0.5 / (1 - self.pruning_ratio)

    @staticmethod
    def way_out(units: int) -> str:
        """What to do about a layer of so many units that would be emptied."""
        return (
            f"Choose a pruning_ratio of at most {1 - 1 / units:.3g}, exclude the layer, or choose "
            'scope "global", which leaves one of each layer'
        )

    def complaints(self, given: Given) -> Iterator[Complaint]:
        """Layers it would empty, a scale that none has, multiply-accumulates not to be counted."""
        yield from self._emptied_layers(given.model)
        yield from self._nothing_to_prune(given.model)
        kinds = {layer.class_name for layer in given.model.layers}
        if self.importance == "bn_scale" and "BatchNormalization" not in kinds:
            yield Complaint(
                pointer="/importance",
                detail="bn_scale reads the scales of BatchNormalization layers, and the model has "
                "none. Choose l1, l2 or taylor",
            )
        if self.target_macs_ratio is None or given.dataset is not None:
            return
        for spec in given.model.inputs:
            if spec.shape is None or None in spec.shape:
                yield Complaint(
                    pointer="/target_macs_ratio",
                    detail=f"input {spec.name!r} leaves a length open, so multiply-accumulates "
                    "cannot be counted: give a data set, whose rows have a length, or a "
                    "pruning_ratio",
                )

    def skips(self, model: ModelFacts) -> Iterator[Skip]:
        for layer in model.layers:
            if _is_output_channels(layer) and self.selects(layer.name):
                yield Skip(layer.name, "its channels are an output of the model")

    def _nothing_to_prune(self, model: ModelFacts) -> Iterator[Complaint]:
        """Where all that is chosen surely keeps its width."""
        chosen = [
            layer
            for layer in model.layers
            if self.selects(layer.name) and layer.parameter_count != 0
        ]
        if chosen and self.pruning_ratio != 0 and all(map(_is_output_channels, chosen)):
            named = ", ".join(layer.name for layer in chosen)
            yield Complaint(
                pointer="/include" if self.include else "",
                detail=f"what is chosen makes an output of the model, which keeps its width: "
                f"{named}. Choose hidden layers",
            )

    def _emptied_layers(self, model: ModelFacts) -> Iterator[Complaint]:
        for layer in model.layers:
            units = layer.removable_units or 0
            is_wide_enough = units > self.channel_multiple and self.selects(layer.name)
            if is_wide_enough and self.would_empty(units):
                yield Complaint(
                    pointer="/pruning_ratio",
                    detail=f"{self.pruning_ratio:g} would take all {units} "
                    f"{'heads' if layer.class_name == ATTENTION else 'channels'} of layer "
                    f"{layer.name!r}. {self.way_out(units)}",
                )

    def warnings(self, dataset: DatasetFacts | None) -> Iterator[str]:
        if self.training() is None and self.pruning_ratio != 0:
            yield (
                "channel_pruning without `recovery`: nothing trains after channels are taken out, "
                "so accuracy will drop, often to that of guessing. Add a recovery or fine_tuning."
            )


def _is_output_channels(layer: LayerSpec) -> bool:
    return layer.is_output and layer.class_name in MAKING
