"""Checks a recipe against a model and its data before anything runs.

What is wrong is collected, all of it, each with a JSON pointer into the job's body.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from app.errors import Complaint, Invalid
from app.recipes.constraints import Constraints
from app.recipes.facts import DatasetFacts, ModelFacts
from app.recipes.fit import input_complaints, length_complaints, open_inputs, read_tasks
from app.recipes.matching_work import matching_complaints
from app.recipes.other_models import other_model_complaints
from app.recipes.outputs import OUTPUT_KINDS, OutputKind
from app.recipes.patterns import matching
from app.recipes.plan import Plan, PlannedSkip, PlannedStep
from app.recipes.recipe import Recipe
from app.recipes.steps import Conversion, Step
from app.recipes.steps.base import Given, LayerTransform, Need
from app.recipes.steps.full_integer_quantization import FullIntegerQuantization
from app.recipes.steps.recovery import optimizer_steps
from app.recipes.task import Task
from app.recipes.training import training_complaints, training_warnings
from app.recipes.uploaded_kinds import kind_complaints


class ImpossibleRecipe(Invalid):
    code = "impossible_recipe"
    title = "The recipe cannot be carried out on this model with this data"


class QuantizedModel(ImpossibleRecipe):
    code = "quantized_model"
    title = "The model is quantized, and every step needs a float one"


def check(
    recipe: Recipe,
    outputs: tuple[OutputKind, ...],
    given: Given,
    constraints: Constraints,
) -> Plan:
    """What the job would do; `recipe` has the job's models filled in.

    Raises: ImpossibleRecipe with every complaint found; QuantizedModel.
    """
    model, dataset = given.model, given.dataset
    if model.is_quantized:
        raise _quantized()
    stages = _stages(recipe, given)
    tasks, label_complaints = read_tasks(model, dataset) if dataset else ((), ())
    complaints = [
        *_order_complaints(recipe),
        *_output_complaints(recipe, outputs),
        *kind_complaints(recipe, outputs, model),
        *_need_complaints(recipe, given),
        *length_complaints(outputs, model, dataset),
        *_layer_complaints(stages),
        *(input_complaints(model, dataset) if dataset else ()),
        *label_complaints,
        *_step_complaints(stages),
        *_range_complaints(stages),
        *training_complaints(recipe, given, tasks),
        *_constraint_complaints(constraints, tasks),
    ]
    if complaints:
        raise ImpossibleRecipe(complaints[0].detail, hint=complaints[0].hint, errors=complaints)
    return Plan(
        steps=tuple(_planned(step) for step in recipe.steps),
        skipped=tuple(_skips(stages)),
        needs=_needs(recipe),
        understood=tuple(f"output {task.output!r}: {task.kind}, {task.because}" for task in tasks),
        warnings=(*_warnings(stages, tasks), *training_warnings(recipe, tasks)),
        tasks=tasks,
        optimizer_steps=sum(
            step.training_runs() * optimizer_steps(dataset.train_rows, training)
            for step in recipe.steps
            if dataset and (training := step.training())
        ),
    )


def check_alone(recipe: Recipe) -> Plan:
    """What can be said of a recipe where nothing is known of the model or the data.

    Raises: ImpossibleRecipe.
    """
    complaints = list(_order_complaints(recipe))
    if complaints:
        raise ImpossibleRecipe(complaints[0].detail, errors=complaints)
    return Plan(
        steps=tuple(_planned(step) for step in recipe.steps),
        skipped=(),
        needs=_needs(recipe),
        understood=(),
        warnings=("The model or the data was not inspected: nothing else was checked.",),
        tasks=(),
        optimizer_steps=0,
    )


def _needs(recipe: Recipe) -> tuple[Need, ...]:
    return tuple(sorted({need for step in recipe.steps for need in step.all_needs()}))


def _quantized() -> QuantizedModel:
    """Alone: nothing else that could be said of the recipe matters."""
    detail = "the model is quantized already; its float weights are gone"
    return QuantizedModel(
        detail,
        hint="Upload the float model that it was made from.",
        errors=[Complaint(pointer="/model_id", detail=detail)],
    )


class Stage(NamedTuple):
    """A step with its place in the recipe, and what it is carried out on."""

    position: int
    step: Step
    given: Given


def _stages(recipe: Recipe, given: Given) -> tuple[Stage, ...]:
    stages = []
    for index, step in enumerate(recipe.steps):
        stages.append(Stage(index, step, given))
        given = step.given_after(given)
    if heavy := matching_complaints(stages):
        raise ImpossibleRecipe(heavy[0].detail, errors=heavy)
    return tuple(stages)


def _order_complaints(recipe: Recipe) -> Iterator[Complaint]:
    for index, step in enumerate(recipe.steps[:-1]):
        if isinstance(step, Conversion):
            yield Complaint(
                pointer=f"/recipe/steps/{index}",
                detail=f"{step.technique} writes the final file, so it must be the last step; "
                f"{recipe.steps[index + 1].technique} comes after it",
            )


def _output_complaints(recipe: Recipe, outputs: tuple[OutputKind, ...]) -> Iterator[Complaint]:
    conversion = recipe.conversion
    if conversion and not conversion.writes() & set(outputs):
        kinds = " or ".join(kind for kind in OUTPUT_KINDS if kind in conversion.writes())
        yield Complaint(
            pointer="/outputs",
            detail=f"{conversion.technique} writes {kinds}; add one of these to outputs",
        )


def _need_complaints(recipe: Recipe, given: Given) -> Iterator[Complaint]:
    dataset = given.dataset
    yield from _label_complaints(recipe, given.model, dataset)
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


def _label_complaints(
    recipe: Recipe, model: ModelFacts, dataset: DatasetFacts | None
) -> Iterator[Complaint]:
    """Labels that were forgotten: nobody means data that nothing would read."""
    if dataset is None or dataset.labels or _needs(recipe) or open_inputs(model):
        return
    yield Complaint(
        pointer="/dataset_id",
        detail="the data set has no labels, and no step of this recipe reads inputs alone; what "
        "is left for it to tell is accuracy, which takes labels. Upload it with labels (y), or "
        "give no dataset_id",
    )


def _layer_complaints(stages: Sequence[Stage]) -> Iterator[Complaint]:
    for index, step, given in stages:
        names = [layer.name for layer in given.model.layers]
        for pointer, pattern in _patterns(step):
            if not matching([pattern], names):
                yield Complaint(
                    pointer=f"/recipe/steps/{index}{pointer}",
                    detail=f"{pattern!r} matches no layer. Layers: {_some(names)}",
                )
        if isinstance(step, LayerTransform) and step.excludes_all_of(names):
            yield Complaint(
                pointer=f"/recipe/steps/{index}/exclude",
                detail=f"every layer that is included is excluded too. Layers: {_some(names)}",
            )


def _patterns(step: Step) -> Iterator[tuple[str, str]]:
    """Every layer pattern of a step, with the pointer that leads to it."""
    for field in ("include", "exclude"):
        for position, pattern in enumerate(getattr(step, field, ())):
            yield f"/{field}/{position}", pattern


def _step_complaints(stages: Sequence[Stage]) -> Iterator[Complaint]:
    for index, step, given in stages:
        written_at = {
            named.pointer: given.pointers[named.model_id]
            for named in step.model_ids()
            if named.model_id in given.pointers
        }
        for complaint in (*step.complaints(given), *other_model_complaints(step, given)):
            inside = f"/recipe/steps/{index}{complaint.pointer}"
            pointer = written_at.get(complaint.pointer, inside)
            yield complaint.model_copy(update={"pointer": pointer})


def _range_complaints(stages: Sequence[Stage]) -> Iterator[Complaint]:
    for index, step, given in stages:
        if given.rounded_by and step.outdates_ranges():
            yield Complaint(
                pointer=f"/recipe/steps/{index}",
                detail=f"{step.technique} makes other layers, and the ranges of activations are "
                f"those of the layers before it: put {step.technique} before {given.rounded_by}",
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


def _skips(stages: Sequence[Stage]) -> Iterator[PlannedSkip]:
    for index, step, given in stages:
        excluded = matching(getattr(step, "exclude", ()), [one.name for one in given.model.layers])
        for layer in given.model.layers:
            if layer.name in excluded:
                yield PlannedSkip(step=index, what=layer.name, reason="excluded by the recipe")
        for skip in step.skips(given.model):
            yield PlannedSkip(step=index, what=skip.what, reason=skip.reason)


def _warnings(stages: Sequence[Stage], tasks: tuple[Task, ...]) -> Iterator[str]:
    if not tasks:
        yield (
            "No labelled data: size and latency are measured, accuracy is not. The optimized model "
            "may be useless without anything here saying so."
        )
    for index, step, given in stages:
        yield from step.warnings(given.dataset)
        if isinstance(step, FullIntegerQuantization):
            yield from step.warnings_of_ranges(given)
        if index and step.given_after(given).model is not given.model:
            before = ", ".join(dict.fromkeys(stage.step.technique for stage in stages[:index]))
            yield (
                f"step {index}, {step.technique}: an uploaded student takes the place of the "
                f"model, so what the steps before it did is thrown away: {before}."
            )


def _some(names: list[str], limit: int = 20) -> str:
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown}, ... ({len(names)} in all)"
