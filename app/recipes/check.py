"""Checks a recipe against a model and its data before anything runs.

What is wrong is collected, all of it, each with a JSON pointer into the job's body.
"""

import math
import re
from collections.abc import Iterator

from app.errors import Complaint, Invalid
from app.recipes.constraints import Constraints
from app.recipes.facts import DatasetFacts, ModelFacts
from app.recipes.fit import input_complaints, read_tasks
from app.recipes.outputs import OutputKind
from app.recipes.plan import Plan, PlannedSkip, PlannedStep
from app.recipes.recipe import Recipe
from app.recipes.steps import Conversion, Step
from app.recipes.steps.base import ModelFormat, Need
from app.recipes.steps.batch_norm_folding import BatchNormFolding
from app.recipes.steps.full_integer_quantization import FullIntegerQuantization
from app.recipes.steps.magnitude_pruning import MagnitudePruning
from app.recipes.steps.recovery import Recovery
from app.recipes.task import Task, TaskKind

CROSS_ENTROPIES = frozenset({"sparse_categorical_crossentropy", "categorical_crossentropy"})
DISTANCES = frozenset({"mean_squared_error", "mean_absolute_error", "huber"})
FITTING_LOSSES: dict[TaskKind, frozenset[str]] = {
    TaskKind.CLASSIFICATION: CROSS_ENTROPIES | DISTANCES,
    TaskKind.BINARY_CLASSIFICATION: DISTANCES | {"binary_crossentropy"},
    TaskKind.MULTI_LABEL: DISTANCES | {"binary_crossentropy"},
    TaskKind.REGRESSION: DISTANCES,
}


class ImpossibleRecipe(Invalid):
    code = "impossible_recipe"
    title = "The recipe cannot be carried out on this model with this data"


def check(
    recipe: Recipe,
    outputs: tuple[OutputKind, ...],
    model: ModelFacts,
    dataset: DatasetFacts | None,
    constraints: Constraints | None = None,
) -> Plan:
    """What the job would do.

    Raises: ImpossibleRecipe with every complaint found.
    """
    constraints = constraints or Constraints()
    tasks, label_complaints = read_tasks(model, dataset) if dataset else ((), ())
    complaints = [
        *_model_complaints(model),
        *_order_complaints(recipe),
        *_output_complaints(recipe, outputs, model),
        *_need_complaints(recipe, dataset),
        *_layer_complaints(recipe, model),
        *_recurrence_complaints(recipe, model),
        *(input_complaints(model, dataset) if dataset else ()),
        *label_complaints,
        *_schedule_complaints(recipe, dataset),
        *_loss_complaints(recipe, tasks),
        *_constraint_complaints(constraints, tasks),
    ]
    if complaints:
        raise ImpossibleRecipe(complaints[0].detail, errors=complaints)
    return Plan(
        steps=tuple(_planned(step) for step in recipe.steps),
        skipped=tuple(_skips(recipe, model)),
        needs=tuple(sorted({need for step in recipe.steps for need in step.all_needs()})),
        understood=tuple(f"output {task.output!r}: {task.kind}, {task.because}" for task in tasks),
        warnings=tuple(_warnings(recipe, dataset, tasks)),
        tasks=tasks,
        optimizer_steps=sum(
            optimizer_steps(training, dataset)
            for step in recipe.steps
            if dataset and (training := training_of(step))
        ),
    )


def training_of(step: Step) -> Recovery | None:
    """The training a step will run, if any."""
    if isinstance(step, Recovery):
        return step
    if isinstance(step, MagnitudePruning):
        return step.effective_recovery()
    return None


def optimizer_steps(training: Recovery, dataset: DatasetFacts) -> int:
    """Batches in the whole training; the last one of an epoch may be smaller."""
    rows = dataset.train_rows - round(dataset.train_rows * training.validation_fraction)
    return training.epochs * math.ceil(rows / training.batch_size)


def _model_complaints(model: ModelFacts) -> Iterator[Complaint]:
    if model.is_quantized:
        yield Complaint(
            pointer="/model_id",
            detail="the model is quantized already; its float weights are gone. Upload the float "
            "model it was made from",
        )


def _order_complaints(recipe: Recipe) -> Iterator[Complaint]:
    for index, step in enumerate(recipe.steps[:-1]):
        if isinstance(step, Conversion):
            yield Complaint(
                pointer=f"/recipe/steps/{index}",
                detail=f"{step.technique} writes the final file, so it must be the last step; "
                f"{recipe.steps[index + 1].technique} comes after it",
            )


def _output_complaints(
    recipe: Recipe, outputs: tuple[OutputKind, ...], model: ModelFacts
) -> Iterator[Complaint]:
    if recipe.conversion and "tflite" not in outputs:
        yield Complaint(
            pointer="/outputs",
            detail=f"{recipe.conversion.technique} writes a tflite file; add 'tflite' to outputs",
        )
    for index, step in enumerate(recipe.steps):
        if model.format not in step.formats:
            allowed = ", ".join(sorted(step.formats))
            yield Complaint(
                pointer=f"/recipe/steps/{index}",
                detail=f"{step.technique} works on {allowed} models; this one is {model.format}",
            )
    if model.format is ModelFormat.TFLITE:
        for index, kind in enumerate(outputs):
            if kind != "tflite":
                yield Complaint(
                    pointer=f"/outputs/{index}",
                    detail=f"a tflite model cannot be turned back into {kind}; ask for 'tflite'",
                )


def _need_complaints(recipe: Recipe, dataset: DatasetFacts | None) -> Iterator[Complaint]:
    for step in recipe.steps:
        needs = step.all_needs()
        if needs and dataset is None:
            named = " and ".join(sorted(need.replace("_", " ") for need in needs))
            yield Complaint(
                pointer="/dataset_id", detail=f"{step.technique} needs {named}: give a dataset_id"
            )
        elif dataset and Need.LABELS in needs and not dataset.labels:
            yield Complaint(
                pointer="/dataset_id",
                detail=f"{step.technique} trains and needs labels; the data set has none",
            )


def _layer_complaints(recipe: Recipe, model: ModelFacts) -> Iterator[Complaint]:
    names = [layer.name for layer in model.layers]
    for pointer, pattern in _patterns(recipe):
        if not any(re.fullmatch(pattern, name) for name in names):
            yield Complaint(
                pointer=pointer,
                detail=f"{pattern!r} matches no layer. Layers: {_some(names)}",
            )


def _patterns(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Every layer pattern of the recipe, with the pointer that leads to it."""
    for index, step in enumerate(recipe.steps):
        for field in ("include", "exclude"):
            for position, pattern in enumerate(getattr(step, field, ())):
                yield f"/recipe/steps/{index}/{field}/{position}", pattern


def _recurrence_complaints(recipe: Recipe, model: ModelFacts) -> Iterator[Complaint]:
    if model.is_recurrent and isinstance(recipe.conversion, FullIntegerQuantization):
        yield Complaint(
            pointer=f"/recipe/steps/{len(recipe.steps) - 1}/technique",
            detail="recurrent layers cannot be calibrated for full integer quantization (the "
            "converter crashes); use dynamic_range_quantization or float16_quantization",
        )


def _schedule_complaints(recipe: Recipe, dataset: DatasetFacts | None) -> Iterator[Complaint]:
    for index, step in enumerate(recipe.steps):
        training = training_of(step)
        if not (isinstance(step, MagnitudePruning) and training and dataset):
            continue
        total = optimizer_steps(training, dataset)
        for field in ("begin_step", "end_step"):
            given = getattr(step, field)
            if step.schedule != "one_shot" and given is not None and given > total:
                yield Complaint(
                    pointer=f"/recipe/steps/{index}/{field}",
                    detail=f"{field} is {given}, but the training has only {total} optimizer "
                    f"steps ({training.epochs} epochs of {total // training.epochs})",
                )


def _loss_complaints(recipe: Recipe, tasks: tuple[Task, ...]) -> Iterator[Complaint]:
    for index, step in enumerate(recipe.steps):
        training = training_of(step)
        if training is None or training.loss == "auto":
            continue
        where = "loss" if isinstance(step, Recovery) else "recovery/loss"
        for task in tasks:
            if training.loss not in FITTING_LOSSES[task.kind]:
                allowed = ", ".join(["auto", *sorted(FITTING_LOSSES[task.kind])])
                yield Complaint(
                    pointer=f"/recipe/steps/{index}/{where}",
                    detail=f"{training.loss} does not fit output {task.output!r} "
                    f"({task.kind}). Allowed: {allowed}",
                )


def _constraint_complaints(
    constraints: Constraints, tasks: tuple[Task, ...]
) -> Iterator[Complaint]:
    if constraints.max_accuracy_drop is not None and not tasks:
        yield Complaint(
            pointer="/constraints/max_accuracy_drop",
            detail="an accuracy drop can only be measured on labelled data: give a data set "
            "with labels, or leave this constraint out",
        )


def _planned(step: Step) -> PlannedStep:
    summary = (type(step).__doc__ or step.technique).strip().split("\n\n")[0]
    return PlannedStep(
        technique=step.technique,
        parameters=step.model_dump(mode="json", exclude={"technique"}),
        summary=" ".join(summary.split()),
    )


def _skips(recipe: Recipe, model: ModelFacts) -> Iterator[PlannedSkip]:
    for index, step in enumerate(recipe.steps):
        for layer in model.layers:
            patterns = getattr(step, "exclude", ())
            if any(re.fullmatch(pattern, layer.name) for pattern in patterns):
                yield PlannedSkip(step=index, what=layer.name, reason="excluded by the recipe")
        if isinstance(step, BatchNormFolding) and not any(
            layer.class_name == "BatchNormalization" for layer in model.layers
        ):
            yield PlannedSkip(
                step=index, what=step.technique, reason="the model has no BatchNormalization layer"
            )


def _warnings(
    recipe: Recipe, dataset: DatasetFacts | None, tasks: tuple[Task, ...]
) -> Iterator[str]:
    if not tasks:
        yield "No labelled data: size, latency and agreement are measured, accuracy is not."
    conversion = recipe.conversion
    if not (dataset and isinstance(conversion, FullIntegerQuantization)):
        return
    if conversion.calibration_samples > dataset.train_rows:
        yield (
            f"calibration_samples is {conversion.calibration_samples}, but there are only "
            f"{dataset.train_rows} training rows: all of them are used."
        )


def _some(names: list[str], limit: int = 20) -> str:
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown}, ... ({len(names)} in all)"
