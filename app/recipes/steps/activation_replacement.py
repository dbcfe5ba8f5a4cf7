"""Parameters of activation replacement."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from app.errors import Complaint
from app.recipes.activations import Source, Target, canonical
from app.recipes.facts import ModelFacts
from app.recipes.steps.base import Given, LayerTransform, Skip
from app.recipes.steps.recovery import Recovery


def _as_list(given: object) -> object:
    return (given,) if isinstance(given, str) else given


# Strict everywhere but here: JSON has lists only.
Sources = Annotated[
    tuple[Source, ...],
    Field(min_length=1, max_length=32, strict=False),
    BeforeValidator(_as_list, json_schema_input_type=Source | tuple[Source, ...]),
]


class ActivationReplacement(LayerTransform):
    """Put one activation in the place of others, hidden ones only, and train what that broke.

    A cheaper activation makes a model faster, and one that a convolution can apply itself spares an
    int8 file whole operators. Layers keep their names; the activation of an output is never
    replaced, nor what LSTM and GRU compute inside. Gates (the sigmoid of squeeze-and-excitation)
    are activations too: name others in `from`, or `exclude` them. leaky_relu has a slope of 0.2.
    """

    # `from` is a word of Python: in JSON, in and out, the field has that name.
    model_config = ConfigDict(serialize_by_alias=True)

    technique: Literal["activation_replacement"] = "activation_replacement"
    trains_in_replicas: ClassVar[bool] = True
    paper: ClassVar[str | None] = (
        "hard_swish for swish: Howard et al. 2019, arXiv:1905.02244, section 5.2"
    )
    changes_structure: ClassVar[bool] = True

    from_: Sources | None = Field(
        None,
        alias="from",
        description="Which activations to replace, one or several; null = every nonlinear one.",
    )
    to: Target = Field("relu", description="What takes their place.")
    recovery: Recovery | None = Field(
        Recovery(distill=True),
        description="Training afterwards; by default it learns from the model as it was. "
        "null = none, which needs no data.",
    )

    @model_validator(mode="after")
    def _something_changes(self) -> Self:
        if self.sources and self.target in self.sources:
            raise ValueError(
                f"has no effect where `to` is {self.to} and `from` holds it too; leave it out of "
                "`from`"
            )
        return self

    @property
    def sources(self) -> frozenset[str] | None:
        """The names to replace; None = all."""
        return None if self.from_ is None else frozenset(map(canonical, self.from_))

    @property
    def target(self) -> str:
        return canonical(self.to)

    def given_after(self, given: Given) -> Given:
        return replace(given, are_activations_changed=True)

    def complaints(self, given: Given) -> Iterator[Complaint]:
        """Activations that no hidden layer has, where those of all chosen layers are known."""
        hidden = [
            layer
            for layer in given.model.layers
            if self.selects(layer.name) and not layer.is_output
        ]
        names = {layer.activation for layer in hidden}
        if self.sources is None or given.are_activations_changed or None in names:
            return
        if not self.sources & names:
            there = ", ".join(sorted(name for name in names if name and name != "linear"))
            yield Complaint(
                pointer="/from",
                detail=f"no chosen hidden layer has the activation "
                f"{' or '.join(sorted(self.sources))}; there are: {there or 'none'}",
            )

    def skips(self, model: ModelFacts) -> Iterator[Skip]:
        for layer in model.layers:
            is_wanted = layer.activation not in (None, "linear", self.target)
            if layer.is_output and is_wanted and self.selects(layer.name):
                yield Skip(layer.name, "it makes an output of the model")

    def training(self) -> Recovery | None:
        return self.recovery
