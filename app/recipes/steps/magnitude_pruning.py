"""Parameters of magnitude pruning."""

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from app.errors import Complaint
from app.recipes.steps.base import Fraction, Given, LayerTransform
from app.recipes.steps.recovery import Recovery, optimizer_steps

BlockEdge = Annotated[int, Field(ge=1, le=256)]


GRADUAL = ("constant", "polynomial")
# Parameters that a schedule or a pattern does not read.
_WITHOUT_EFFECT: Mapping[str, tuple[str, ...]] = {
    "one_shot": ("begin_step", "end_step", "frequency", "initial_sparsity"),
    "constant": ("end_step", "frequency", "initial_sparsity"),
    "unstructured": ("n", "m", "block_shape"),
    "n_m": ("block_shape",),
    "block": ("n", "m"),
}


class MagnitudePruning(LayerTransform):
    """Zero the smallest-magnitude share of the kernels; shapes stay as they are.

    The zeros make the file small once it is compressed; they do not make a dense runtime faster.
    A schedule prunes little by little while recovery training runs, which loses less accuracy.
    """

    technique: Literal["magnitude_pruning"] = "magnitude_pruning"
    trains_in_replicas: ClassVar[bool] = True
    paper: ClassVar[str | None] = (
        "Han et al. 2015, arXiv:1506.02626; polynomial schedule: Zhu & Gupta 2017, arXiv:1710.01878"
    )

    sparsity: Fraction = Field(description="Share of weights set to zero at the end, in [0, 1).")
    scope: Literal["per_layer", "global"] = Field(
        "per_layer",
        description="Rank magnitudes within each kernel, or over all chosen kernels together.",
    )
    schedule: Literal["one_shot", "constant", "polynomial"] = Field(
        "one_shot",
        description="All at once before recovery; at `sparsity` from begin_step on; or growing "
        "from initial_sparsity at begin_step to `sparsity` at end_step.",
    )
    initial_sparsity: Fraction = Field(0.0, description="Sparsity at begin_step (polynomial).")
    begin_step: int = Field(0, ge=0, description="First optimizer step that prunes.")
    end_step: int | None = Field(
        None, ge=1, description="Optimizer step of full sparsity; null = 60 % of the training."
    )
    frequency: int | None = Field(
        None, ge=1, description="Optimizer steps between mask updates; null = 50 updates in all."
    )
    pattern: Literal["unstructured", "n_m", "block"] = Field(
        "unstructured", description="Which weights may go: any, n of every m, or whole blocks."
    )
    n: int = Field(2, ge=1, le=64, description="n_m: kept weights in every group of m.")
    m: int = Field(
        4,
        ge=2,
        le=64,
        description="n_m: group length along all inputs of an output: height x width x input "
        "channels of a convolution in a row, height x width of a depthwise one.",
    )
    block_shape: tuple[BlockEdge, BlockEdge] = Field(
        (1, 4),
        strict=False,
        description="block: edge lengths [input, output] of the kernel seen as a matrix.",
    )
    recovery: Recovery | None = Field(
        None, description="Training with the zeros held; a schedule without one gets the default."
    )

    @model_validator(mode="before")
    @classmethod
    def _n_m_names_its_sparsity(cls, data: object) -> object:
        if isinstance(data, dict) and data.get("pattern") == "n_m" and "sparsity" not in data:
            n, m = data.get("n", 2), data.get("m", 4)
            if isinstance(n, int) and isinstance(m, int) and 0 < n < m:
                return {**data, "sparsity": 1 - n / m}
        return data

    @model_validator(mode="before")
    @classmethod
    def _a_schedule_recovers(cls, data: object) -> object:
        """It cannot do without a recovery: what the recipe says is what runs."""
        if not isinstance(data, dict) or data.get("recovery") is not None:
            return data
        return {**data, "recovery": {}} if data.get("schedule") in GRADUAL else data

    @model_validator(mode="after")
    def _every_parameter_has_an_effect(self) -> Self:
        """Compared with the defaults, not with what was given: a stored step holds them all."""
        for chosen, value in (("schedule", self.schedule), ("pattern", self.pattern)):
            for name in _WITHOUT_EFFECT.get(value, ()):
                default = type(self).model_fields[name].default
                if getattr(self, name) != default:
                    raise ValueError(
                        f"{name} has no effect where {chosen} is {value}; given "
                        f"{getattr(self, name)}. Leave it out or choose another {chosen}"
                    )
        return self

    @model_validator(mode="after")
    def _parameters_agree(self) -> Self:
        if self.pattern == "n_m":
            if self.n >= self.m:
                raise ValueError(f"n must be below m; given n={self.n}, m={self.m}")
            if abs(self.sparsity - (1 - self.n / self.m)) > 1e-9:
                raise ValueError(
                    f"{self.n} of {self.m} kept is a sparsity of {1 - self.n / self.m:g}; "
                    f"given {self.sparsity:g}. Leave `sparsity` out or make them agree"
                )
            if self.scope == "global":
                raise ValueError("n_m fixes the share in every group: scope must be per_layer")
        if self.end_step is not None and self.end_step <= self.begin_step:
            raise ValueError(
                f"end_step must be after begin_step; given {self.end_step} <= {self.begin_step}"
            )
        if self.initial_sparsity > self.sparsity:
            raise ValueError(
                f"initial_sparsity {self.initial_sparsity:g} is above sparsity {self.sparsity:g}"
            )
        return self

    def training(self) -> Recovery | None:
        return self.recovery

    def replica_obstacle(self) -> str | None:
        if self.schedule in GRADUAL:
            return f"the masks of schedule {self.schedule} are known to one process only"
        return super().replica_obstacle()

    def complaints(self, given: Given) -> Iterator[Complaint]:
        """A schedule that goes on after the training."""
        training, dataset = self.training(), given.dataset
        if training is None or dataset is None or self.schedule == "one_shot":
            return
        total = optimizer_steps(dataset.train_rows, training)
        for field, step in (("begin_step", self.begin_step), ("end_step", self.end_step)):
            if step is not None and step > total:
                yield Complaint(
                    pointer=f"/{field}",
                    detail=f"{field} is {step}, but the training has only {total} optimizer "
                    f"steps ({training.epochs} epochs of {total // training.epochs})",
                )
