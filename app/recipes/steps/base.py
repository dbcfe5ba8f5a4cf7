"""What every step of a recipe has: a tag, parameters with ranges, and what it needs to run.

What a technique asks of a model and of data is said by its own step; nothing else knows techniques
by name.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, ClassVar, NamedTuple, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.errors import Complaint
from app.recipes.facts import DatasetFacts, ModelFacts, ModelFormat
from app.recipes.outputs import HOLDING_TFLITE, OutputKind
from app.recipes.patterns import compiled, matches, matching
from app.recipes.steps.recovery import Recovery


class Need(StrEnum):
    """What a step cannot do without."""

    TRAINING_DATA = "training_data"
    LABELS = "labels"
    CALIBRATION_DATA = "calibration_data"


@dataclass(frozen=True)
class Given:
    """What a recipe is to be carried out on.

    `others` are the other models it names, by id; `pointers` say where in the job's body each was
    named first: a step may have been given the job's teacher. `uploaded` is the job's model where
    an earlier step has put another one in its place; null = `model` is still that one.
    `are_activations_changed` says that an earlier step replaced some of what `model` tells of.
    `rounded_by` is the technique that put ranges of activations into the model, which hold for the
    layers it has now; `rounding` says how, where no runtime rounds like that.
    """

    model: ModelFacts
    dataset: DatasetFacts | None
    others: Mapping[str, ModelFacts] = field(default_factory=dict)
    pointers: Mapping[str, str] = field(default_factory=dict)
    uploaded: ModelFacts | None = None
    are_activations_changed: bool = False
    rounded_by: str | None = None
    rounding: str | None = None

    @property
    def baseline(self) -> ModelFacts:
        """The job's model as it was uploaded: what teaches unless another is named."""
        return self.uploaded or self.model


class NamedModel(NamedTuple):
    """An uploaded model that a step names, and where: a JSON pointer into the step."""

    pointer: str
    model_id: str


class Skip(NamedTuple):
    """What a step will leave out of a model, and why."""

    what: str
    reason: str


KERAS_FORMATS = frozenset({ModelFormat.KERAS, ModelFormat.H5})


def _compilable(pattern: str) -> str:
    compiled(pattern)
    return pattern


LayerPattern = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_compilable)]
# Strict everywhere but here: JSON has lists only.
LayerPatterns = Annotated[tuple[LayerPattern, ...], Field(max_length=64, strict=False)]
# The fields of steps that hold them.
PATTERN_FIELDS = ("include", "exclude", "layers")
Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]


def pattern_count(step: object) -> int:
    """Of a step, or of what a client gave as one."""
    fields = step if isinstance(step, Mapping) else getattr(step, "__dict__", {})
    lists = (fields.get(name) for name in PATTERN_FIELDS)
    return sum(len(given) for given in lists if isinstance(given, list | tuple))


def patterns_of(step: "Step") -> list[str]:
    return [pattern for name in PATTERN_FIELDS for pattern in getattr(step, name, ())]


def _with_its_name(schema: dict[str, Any]) -> None:
    """Each kind of step knows its technique; which kind is asked for, a request has to say."""
    schema["required"] = ["technique", *schema.get("required", ())]


class Step(BaseModel):
    """One technique with its parameters."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        json_schema_extra=_with_its_name,
    )

    technique: str
    needs: ClassVar[frozenset[Need]] = frozenset()
    formats: ClassVar[frozenset[ModelFormat]] = KERAS_FORMATS
    paper: ClassVar[str | None] = None
    # Whether it trains by nothing but optimizer steps with zeros held: then `workers` can share it.
    trains_in_replicas: ClassVar[bool] = False
    # Whether layers change their shapes or go: then parameters, MACs and time are told per step.
    changes_structure: ClassVar[bool] = False

    def all_needs(self) -> frozenset[Need]:
        """What this step needs as it is parametrized: at least the technique's own `needs`."""
        if self.training() is None:
            return self.needs
        return self.needs | {Need.TRAINING_DATA, Need.LABELS}

    def training(self) -> Recovery | None:
        """The training it will run, if any: the step itself, or what is in its field `recovery`."""
        return None

    def training_runs(self) -> int:
        """How often `training` is run through from its start.

        More than once where starts are compared, or coded gradients with float32.
        """
        training = self.training()
        return training.runs if training else 0

    def replica_obstacle(self) -> str | None:
        """Why the training cannot be divided over several processes; null = it can.

        What a technique does of its own between optimizer steps only one process knows of.
        """
        training = self.training()
        if training is None or (self.trains_in_replicas and not training.distill):
            return None
        if training.distill:
            return "what teachers say is known to one process only"
        return f"what {self.technique} does while it trains is known to one process only"

    def model_ids(self) -> Iterator[NamedModel]:
        """Every other uploaded model that this step uses."""
        training = self.training()
        if training is None or not training.distill:
            return
        where = "" if self._is(training) else "/recovery"
        for index, model_id in enumerate(training.teacher_model_ids):
            yield NamedModel(f"{where}/teacher_model_ids/{index}", model_id)

    def with_models(self, teacher: str | None, student: str | None) -> Self:
        """The step with the job's models filled in where it distills and names none itself."""
        training = self.training()
        if teacher is None or training is None or not training.distill:
            return self
        if training.teacher_model_ids:
            return self
        if self._is(training):
            return self.model_copy(update={"teacher_model_ids": (teacher,)})
        recovery = training.model_copy(update={"teacher_model_ids": (teacher,)})
        return self.model_copy(update={"recovery": recovery})

    def leaves_teacher_open(self) -> bool:
        """Whether it distills after a change and nobody said from which model."""
        training = self.training()
        return training is not None and training.distill and not training.teacher_model_ids

    def _is(self, training: object) -> bool:
        """Whether the step is its own training, as fine-tuning and distillation are."""
        return training is self

    def complaints(self, given: Given) -> Iterator[Complaint]:
        """What of this technique's own keeps it from running; pointers lead into the step."""
        yield from ()

    def outdates_ranges(self) -> bool:
        """Whether ranges that were read before say nothing of the model that it makes."""
        return self.changes_structure

    def given_after(self, given: Given) -> Given:
        """What later steps are carried out on: another model, if this step puts one there."""
        return given

    def skips(self, model: ModelFacts) -> Iterator[Skip]:
        """What of this technique's own there is nothing to do for."""
        yield from ()

    def warnings(self, dataset: DatasetFacts | None) -> Iterator[str]:
        """What it will do otherwise than its parameters say, in plain words."""
        yield from ()


class Transform(Step):
    """A step from a Keras model to a Keras model."""


class LayerTransform(Transform):
    """A transform of chosen layers; a pattern must match a whole layer name."""

    include: LayerPatterns = Field(
        default=(), description="Only layers whose whole name matches one of these; empty = all."
    )
    exclude: LayerPatterns = Field(
        default=(), description="Never layers whose whole name matches one of these."
    )

    def selects(self, layer_name: str) -> bool:
        is_excluded = any(matches(pattern, layer_name) for pattern in self.exclude)
        return self._includes(layer_name) and not is_excluded

    def excludes_all_of(self, layer_names: Sequence[str]) -> bool:
        """Whether some of these are included, and all of those excluded."""
        included = matching(self.include, layer_names) if self.include else set(layer_names)
        return bool(included) and included <= matching(self.exclude, layer_names)

    def _includes(self, layer_name: str) -> bool:
        return not self.include or any(matches(pattern, layer_name) for pattern in self.include)


class Conversion(Step):
    """A step from a model to the content of a file; it ends a recipe."""

    def writes(self) -> frozenset[OutputKind]:
        """The kinds of files that it makes smaller; others are float32 all the same."""
        return HOLDING_TFLITE
