"""Parameters of distillation: who learns from whom, and how."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from app.errors import Complaint
from app.recipes.facts import DatasetFacts, ModelFacts
from app.recipes.fit import read_tasks
from app.recipes.steps.base import Given, NamedModel, Need, Transform
from app.recipes.steps.initialization import InitialWeights, Scheme, source_complaints
from app.recipes.steps.recovery import ModelId, Recovery
from app.recipes.students import facts_in_the_place_of, reason_to_keep, student_complaints

LayerName = Annotated[str, Field(min_length=1, max_length=400)]
Squared = "mean_squared_error"

# Parameters that a choice does not read.
_WITHOUT_EFFECT: Mapping[str, tuple[str, ...]] = {
    "same": ("width_multiplier", "removed_layers", "student_model_id"),
    "width": ("removed_layers", "student_model_id"),
    "depth": ("width_multiplier", "student_model_id"),
    "model": ("width_multiplier", "removed_layers"),
    "mse": ("temperature",),
    "cosine": ("temperature",),
}


class Distillation(Transform, Recovery):
    """Train a student on what a teacher answers, beside the labels.

    The loss is (1 - distillation_weight) x hard + distillation_weight x soft. The student takes
    the place of the model: it has its inputs and outputs. `same` is the model as the steps before
    left it, `width` one with fewer channels in every layer, `depth` one without some layers,
    `model` an uploaded one. The teacher is the job's model as it was uploaded, unless others are
    named; several teachers are averaged.
    """

    technique: Literal["distillation"] = "distillation"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.TRAINING_DATA, Need.LABELS})
    paper: ClassVar[str | None] = (
        "Hinton et al. 2015, arXiv:1503.02531; features: Romero et al. 2015, arXiv:1412.6550"
    )
    changes_structure: ClassVar[bool] = True

    distill: Literal[True] = Field(True, description="What this step does; always true.")
    epochs: int = Field(5, ge=1, le=1000, description="Passes over the training data.")
    student: Literal["same", "width", "depth", "model"] = Field(
        "same",
        description="Who learns: the model as it now is, a narrower or shallower one made of it, "
        "or an uploaded model.",
    )
    width_multiplier: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="width: share of the channels or units of every layer that stay, those with "
        "the largest L1 norm; at least one.",
    )
    removed_layers: tuple[LayerName, ...] = Field(
        (),
        max_length=256,
        strict=False,
        description="depth: layers to take out by name; a residual block goes by the name of any "
        "of its layers.",
    )
    student_model_id: ModelId | None = Field(
        None, description="model: the uploaded student; null = the job's student_model_id."
    )
    soft_loss: Literal["kl", "mse", "cosine"] = Field(
        "kl",
        description="How answers are compared: KL divergence times temperature squared, squared "
        "error of logits, or their cosine. Regression compares values by squared error.",
    )
    hard_loss: Literal["auto", "mse", "cross_entropy"] = Field(
        "auto",
        description="How labels are compared, in short for `loss`: mse is mean_squared_error, "
        "cross_entropy the one that fits the head.",
    )
    feature_layers: tuple[LayerName, ...] = Field(
        (),
        max_length=16,
        strict=False,
        description="Layers whose outputs are compared as well, `name` or `student:teacher`; where "
        "widths differ, through a learned projection.",
    )
    feature_weight: float = Field(
        1.0, gt=0, le=1e6, description="Factor of the feature loss (squared error)."
    )
    initialization: Scheme | InitialWeights | None = Field(
        None,
        description="How the student starts: null = with the weights it has (same, width and "
        "depth inherit them), a scheme, or a scheme with its ranges. `pretrained` takes the "
        "teacher's, of wider layers the most important channels.",
    )

    @model_validator(mode="before")
    @classmethod
    def _hard_loss_names_the_loss(cls, data: Any) -> Any:
        is_squared = isinstance(data, dict) and data.get("hard_loss") == "mse"
        if is_squared and data.get("loss", "auto") == "auto":
            return {**data, "loss": Squared}
        return data

    @model_validator(mode="after")
    def _every_parameter_has_an_effect(self) -> Self:
        """Compared with the defaults, not with what was given: a stored step holds them all."""
        for chosen, value in (("student", self.student), ("soft_loss", self.soft_loss)):
            for name in _WITHOUT_EFFECT.get(value, ()):
                given = getattr(self, name)
                if given != type(self).model_fields[name].default:
                    raise ValueError(
                        f"{name} has no effect where {chosen} is {value}; given {given}. Leave it "
                        f"out or choose another {chosen}"
                    )
        if self.feature_weight != 1.0 and not self.feature_layers:
            raise ValueError(
                f"feature_weight has no effect without feature_layers; given {self.feature_weight}"
            )
        return self

    @model_validator(mode="after")
    def _parameters_agree(self) -> Self:
        if self.student == "depth" and not self.removed_layers:
            raise ValueError("removed_layers is empty: a shallower student lacks at least one")
        is_fitting = {
            "auto": True,
            "mse": self.loss == Squared,
            "cross_entropy": self.loss == "auto" or self.loss.endswith("crossentropy"),
        }
        if not is_fitting[self.hard_loss]:
            raise ValueError(
                f"hard_loss is {self.hard_loss}, but loss is {self.loss}: name it in one of them"
            )
        for pair in self.feature_layers:
            if pair.startswith(":") or pair.endswith(":"):
                raise ValueError(f"feature_layers: give `name` or `student:teacher`; got {pair!r}")
        return self

    def training(self) -> Recovery:
        return self

    def leaves_teacher_open(self) -> bool:
        """Never: to learn from the uploaded model is what it was asked for."""
        return False

    def initial_weights(self) -> InitialWeights | None:
        """`initialization` in its full form."""
        if isinstance(self.initialization, str):
            return InitialWeights(scheme=self.initialization)
        return self.initialization

    def feature_pairs(self) -> tuple[tuple[str, str], ...]:
        """Names of layers to compare: the student's, the teacher's."""
        split = (pair.partition(":") for pair in self.feature_layers)
        return tuple((ours, theirs or ours) for ours, _, theirs in split)

    def model_ids(self) -> Iterator[NamedModel]:
        yield from super().model_ids()
        if self.student_model_id:
            yield NamedModel("/student_model_id", self.student_model_id)
        weights = self.initial_weights()
        if weights and weights.source_model_id:
            yield NamedModel("/initialization/source_model_id", weights.source_model_id)

    def outdates_ranges(self) -> bool:
        return self.student != "same"

    def with_models(self, teacher: str | None, student: str | None) -> Self:
        step = super().with_models(teacher, student)
        if student is None or step.student != "model" or step.student_model_id:
            return step
        return step.model_copy(update={"student_model_id": student})

    def complaints(self, given: Given) -> Iterator[Complaint]:
        yield from super().complaints(given)
        yield from self._loss_complaints(given)
        yield from self._layer_complaints(given)
        if self.student == "model" and self.student_model_id is None:
            yield Complaint(
                pointer="/student_model_id",
                detail="student is `model`, but none is named: give it here or as the job's "
                "student_model_id",
            )
        student = given.others.get(self.student_model_id or "")
        if student:
            yield from student_complaints(given.model, student, "/student_model_id")
        weights = self.initial_weights()
        source = given.others.get((weights and weights.source_model_id) or "")
        if source:
            pointer = "/initialization/source_model_id"
            yield from source_complaints(student or given.model, source, pointer)

    def given_after(self, given: Given) -> Given:
        """The uploaded student is the model from here on, under the names of the one before."""
        student = given.others.get(self.student_model_id or "")
        if student is None or any(student_complaints(given.model, student, "")):
            return given
        standing = facts_in_the_place_of(given.model, student)
        return replace(given, model=standing, uploaded=given.baseline)

    def warnings(self, dataset: DatasetFacts | None) -> Iterator[str]:
        yield from super().warnings(dataset)
        if self.distillation_weight == 0 and not self.feature_layers:
            yield (
                "distillation: distillation_weight is 0, so the teacher is not listened to; it "
                "serves as a control."
            )

    def _loss_complaints(self, given: Given) -> Iterator[Complaint]:
        tasks = read_tasks(given.model, given.dataset)[0] if given.dataset else ()
        heads = {head.output: head for head in given.model.heads}
        for task in tasks:
            is_single = heads[task.output].units == 1 and task.is_classification
            if self.soft_loss == "cosine" and is_single:
                yield Complaint(
                    pointer="/soft_loss",
                    detail=f"output {task.output!r} is one unit, and the cosine of single numbers "
                    "is 1 or -1 however far they are apart. Allowed: kl, mse",
                )
            if self.hard_loss == "cross_entropy" and not task.is_classification:
                yield Complaint(
                    pointer="/hard_loss",
                    detail=f"cross_entropy compares classes, and output {task.output!r} predicts "
                    "values. Allowed: auto, mse",
                )

    def _layer_complaints(self, given: Given) -> Iterator[Complaint]:
        for index, name in enumerate(self.removed_layers):
            pointer = f"/removed_layers/{index}"
            yield from _unknown(name, given.model, pointer, "the model")
            reason = reason_to_keep(name, given.model)
            if reason:
                detail = f"layer {name!r} cannot be taken out: {reason}"
                yield Complaint(pointer=pointer, detail=detail)
        student = given.others.get(self.student_model_id or "", given.model)
        teacher = given.baseline
        if self.teacher_model_ids:
            teacher = given.others.get(self.teacher_model_ids[0], given.baseline)
        for index, (ours, theirs) in enumerate(self.feature_pairs()):
            pointer = f"/feature_layers/{index}"
            yield from _incomparable(ours, student, pointer, "the student")
            yield from _incomparable(theirs, teacher, pointer, "the teacher")


def _incomparable(path: str, model: ModelFacts, pointer: str, whose: str) -> Iterator[Complaint]:
    """A complaint where a model has no such layer, or has it inside a nested one."""
    if "/" in path:
        yield Complaint(
            pointer=pointer,
            detail=f"{path!r} of {whose} leads into a nested model, whose layers cannot be "
            "compared: name the nested model itself, or a layer beside it",
        )
    else:
        yield from _unknown(path, model, pointer, whose)


def _unknown(path: str, model: ModelFacts, pointer: str, whose: str) -> Iterator[Complaint]:
    """A complaint where the model has no such layer; a path may lead into nested models."""
    names = [layer.name for layer in model.layers]
    if path.rpartition("/")[2] not in names:
        shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
        yield Complaint(pointer=pointer, detail=f"{whose} has no layer {path!r}. Layers: {shown}")
