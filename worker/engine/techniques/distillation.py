"""Distillation: a student learns from teachers and takes the place of the model."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras

from app.errors import StepFailed
from app.recipes.steps.distillation import Distillation
from worker.engine.context import StepContext, StepOutcome
from worker.engine.initializing.starting import started
from worker.engine.students.making import narrow_student, same_student, shallow_student
from worker.engine.students.scoring import evaluate_teacher
from worker.engine.students.standing_in import in_the_place_of
from worker.engine.students.student import Student
from worker.engine.surgery.lineage import Lineage
from worker.engine.surgery.weights import leaves
from worker.engine.training.interventions import Interventions
from worker.engine.training.teachers import model_fingerprint
from worker.engine.training.teaching import Teaching
from worker.engine.training.trainer import train
from worker.engine.training.zeros import HeldZeros

TEACHES_LITTLE = (
    "On the validation rows the teacher scores {teacher:.4f}, which is less than the {student:.4f} "
    "of the student before it learned: what it teaches may do harm."
)
LEARNS_FROM_ITSELF = (
    "Student and teacher were the same model with the same weights, so only the labels had "
    "anything to teach. Name another teacher, or change the model in an earlier step."
)


def apply(step: Distillation, model: keras.Model, context: StepContext) -> StepOutcome:
    """The student, trained; what earlier steps pruned of it stays zero.

    Raises: StepFailed if student or teachers do not fit; what `train` raises.
    """
    context.check_cancelled()
    teachers = _teachers(step, context)
    made = _student(step, model, context)
    lineage = _lineage(step, made, context)
    student = _started(step, made, teachers[0], replace(context, lineage=lineage))
    context.report_progress(0.0, f"a student of {student.model.count_params()} parameters")
    teaching = _teaching(step, teachers)
    zeros = HeldZeros(student.model, student.masks)
    history = train(student.model, context, step, Interventions(zeros=zeros, teaching=teaching))
    taught_by = _teacher_facts(step, teachers, context)
    return StepOutcome(
        model=student.model,
        masks=student.masks,
        lineage=lineage,
        accuracy_after_change=history.score_before,
        facts={
            "student": step.student,
            "student_parameters": student.model.count_params(),
            "student_score_before": history.score_before,
            "student_score": history.kept_score,
            "teachers": taught_by,
            **student.facts,
            **history.facts(),
        },
        skipped=student.skipped,
        warnings=(
            *_warnings(step, model, teachers, context),
            *_worse_teachers(taught_by, history.score_before),
            *history.warnings,
        ),
    )


def _teaching(step: Distillation, teachers: Sequence[keras.Model]) -> Teaching:
    return Teaching(
        teachers=teachers,
        temperature=step.temperature,
        distillation_weight=step.distillation_weight,
        soft_loss=step.soft_loss,
        features=step.feature_pairs(),
        feature_weight=step.feature_weight,
    )


def _warnings(
    step: Distillation,
    model: keras.Model,
    teachers: Sequence[keras.Model],
    context: StepContext,
) -> Iterator[str]:
    starts_as_uploaded = step.student == "same" and model is context.baseline
    if starts_as_uploaded and step.initialization is None and _are_all(teachers, model):
        yield LEARNS_FROM_ITSELF


def _are_all(teachers: Sequence[keras.Model], model: keras.Model) -> bool:
    """Whether each is this model, or the same one loaded again: the job's own, named by its id."""
    others = [teacher for teacher in teachers if teacher is not model]
    wanted = model_fingerprint(model) if others else ""
    return all(model_fingerprint(teacher) == wanted for teacher in others)


def _worse_teachers(
    teachers: Sequence[Mapping[str, Any]], student_score: float | None
) -> Iterator[str]:
    """A warning of each teacher that does worse than the student did when it came."""
    for facts in teachers:
        score = facts["score"]
        if score is not None and student_score is not None and score < student_score:
            yield TEACHES_LITTLE.format(teacher=score, student=student_score)


def _teachers(step: Distillation, context: StepContext) -> list[keras.Model]:
    """The named ones, else the job's model as it was uploaded."""
    if step.teacher_model_ids:
        return [context.load_model(model_id) for model_id in step.teacher_model_ids]
    if context.baseline is None:
        raise StepFailed(
            "the uploaded model is none that Keras can run, so it cannot teach",
            hint="Name a Keras model in teacher_model_ids.",
        )
    return [context.baseline]


def _student(step: Distillation, model: keras.Model, context: StepContext) -> Student:
    if step.student == "width":
        return narrow_student(model, step.width_multiplier, context.masks)
    if step.student == "depth":
        return shallow_student(model, step.removed_layers, context.masks)
    if step.student == "model":
        if step.student_model_id is None:
            raise StepFailed("the student is to be an uploaded model, but none is named")
        uploaded = in_the_place_of(model, context.load_model(step.student_model_id))
        return Student(uploaded, masks={}, facts={"scheme": None, "inherited_layers": []})
    return same_student(model, context.masks)


def _lineage(step: Distillation, student: Student, context: StepContext) -> Lineage:
    if step.student == "model":
        return Lineage(descends=False)
    return context.lineage.narrowed(student.kept)


def _started(
    step: Distillation, student: Student, teacher: keras.Model, context: StepContext
) -> Student:
    """The student with the weights that `initialization` asks for."""
    weights = step.initial_weights()
    if weights is None:
        return student
    source = context.load_model(weights.source_model_id) if weights.source_model_id else teacher
    held = replace(context, masks=student.masks)
    start = started(student.model, leaves(student.model), weights, weights.scheme, source, held)
    return Student(start.model, student.masks, start.facts, (*student.skipped, *start.skipped))


def _teacher_facts(
    step: Distillation, teachers: Sequence[keras.Model], context: StepContext
) -> list[dict[str, Any]]:
    rows = context.validation_of(step)
    ids = step.teacher_model_ids or (None,)
    return [
        {
            "model_id": model_id,
            "parameters": teacher.count_params(),
            "score": evaluate_teacher(teacher, rows, context).score if rows else None,
        }
        for model_id, teacher in zip(ids, teachers, strict=True)
    ]
