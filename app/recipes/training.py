"""What keeps the trainings of a recipe from running on a model with its data; pure."""

from collections.abc import Iterator, Mapping
from itertools import chain

from app.errors import Complaint
from app.recipes.facts import DatasetFacts, LabelArray
from app.recipes.fit import scale_complaints
from app.recipes.losses import loss_obstacles
from app.recipes.recipe import Recipe
from app.recipes.steps.base import Given, Step
from app.recipes.steps.recovery import Recovery, optimizer_steps
from app.recipes.task import Task, TaskKind

# Parameters of teaching that are read where classes are told apart.
OF_LOGITS = frozenset({"temperature", "soft_loss"})
# Of gradients, that only optimizers without a memory of their size train well with.
FEW_BITS = 2
WEIGHTED = frozenset({TaskKind.CLASSIFICATION, TaskKind.BINARY_CLASSIFICATION})


def training_complaints(
    recipe: Recipe, given: Given, tasks: tuple[Task, ...]
) -> Iterator[Complaint]:
    """Every complaint of every training; nothing where there are no labels to train on."""
    if given.dataset is None or not tasks:
        return
    labels = _labels_of(tasks, given.dataset)
    for index, step in enumerate(recipe.steps):
        training = step.training()
        if training is None:
            continue
        base = f"/recipe/steps/{index}" + ("" if training is step else "/recovery")
        found = chain(
            _loss_complaints(training, tasks, labels),
            _class_weight_complaints(training, tasks),
            _smoothing_complaints(training, tasks),
            _warm_up_complaints(training, given.dataset),
            _augmentation_complaints(training, given, labels),
            _scale_complaints(training, given, tasks),
            _worker_complaints(step, training),
        )
        for complaint in found:
            yield complaint.model_copy(update={"pointer": base + complaint.pointer})


def training_warnings(recipe: Recipe, tasks: tuple[Task, ...]) -> Iterator[str]:
    """What trainings will do otherwise than one may expect, in plain words."""
    yield from _teaching_warnings(recipe, tasks)
    yield from _coding_warnings(recipe)


def _coding_warnings(recipe: Recipe) -> Iterator[str]:
    """Adaptive optimizers divide by the size of past gradients, which few bits make jump."""
    for step in recipe.steps:
        training = step.training()
        coding = training.gradient_quantization if training else None
        if training is None or coding is None or training.optimizer == "sgd":
            continue
        if coding.num_bits <= FEW_BITS or coding.rounding == "top_k":
            yield (
                f"{step.technique}: with gradients of so few bits, {training.optimizer} loses more "
                "accuracy than sgd does; optimizer sgd with a higher learning_rate (0.05) is safer."
            )


def _teaching_warnings(recipe: Recipe, tasks: tuple[Task, ...]) -> Iterator[str]:
    """What is given for the comparison with a teacher, and not read where values are predicted."""
    if not tasks or any(task.is_classification for task in tasks):
        return
    for step in recipe.steps:
        training = step.training()
        if training is None or not training.distill:
            continue
        fields = type(training).model_fields
        for name in OF_LOGITS & fields.keys():
            if getattr(training, name) != fields[name].default:
                yield (
                    f"{step.technique}: {name} has no effect, for every output predicts values, "
                    "which are compared with the teacher's by squared error."
                )


def _scale_complaints(
    training: Recovery, given: Given, tasks: tuple[Task, ...]
) -> Iterator[Complaint]:
    """Of the job's own model: it is a teacher, or the student that is to answer as one does."""
    if training.distill:
        yield from scale_complaints(given.model, tasks, "")


def _worker_complaints(step: Step, training: Recovery) -> Iterator[Complaint]:
    obstacle = step.replica_obstacle() if training.workers > 1 else None
    if obstacle:
        yield Complaint(
            pointer="/gradient_quantization/workers",
            detail=f"this training cannot be divided over {training.workers} processes: "
            f"{obstacle}. Leave workers out, or train in a fine_tuning step",
        )


def _labels_of(tasks: tuple[Task, ...], dataset: DatasetFacts) -> Mapping[str, LabelArray]:
    """By output; the only array belongs to the only output, whatever it is called."""
    if len(tasks) == len(dataset.labels) == 1:
        return {tasks[0].output: dataset.labels[0]}
    return {labels.name or "": labels for labels in dataset.labels}


def _loss_complaints(
    training: Recovery, tasks: tuple[Task, ...], labels: Mapping[str, LabelArray]
) -> Iterator[Complaint]:
    for task in tasks:
        for detail in loss_obstacles(training.loss, task, labels[task.output]):
            yield Complaint(pointer="/loss", detail=detail)


def _class_weight_complaints(training: Recovery, tasks: tuple[Task, ...]) -> Iterator[Complaint]:
    weights = training.class_weights
    if weights == "none":
        return
    weighted = [task for task in tasks if task.kind in WEIGHTED]
    if not weighted:
        yield Complaint(
            pointer="/class_weights",
            detail="no output chooses one class, so there are no classes to weigh. Leave it out",
        )
    if not isinstance(weights, Mapping):
        return
    for task in weighted:
        count = task.class_count or 0
        beyond = sorted(int(label) for label in weights if int(label) >= count > 0)
        if beyond:
            yield Complaint(
                pointer="/class_weights",
                detail=f"there is no class {beyond[0]}: output {task.output!r} has the classes "
                f"0 to {count - 1}",
            )


def _smoothing_complaints(training: Recovery, tasks: tuple[Task, ...]) -> Iterator[Complaint]:
    if training.label_smoothing and not any(task.is_classification for task in tasks):
        yield Complaint(
            pointer="/label_smoothing",
            detail="has no effect: every output predicts values. Leave it out",
        )


def _warm_up_complaints(training: Recovery, dataset: DatasetFacts) -> Iterator[Complaint]:
    total = optimizer_steps(dataset.train_rows, training)
    if training.warmup_steps >= total:
        yield Complaint(
            pointer="/warmup_steps",
            detail=f"warmup_steps is {training.warmup_steps}, but the training has only {total} "
            f"optimizer steps ({training.epochs} epochs of {total // training.epochs}): the "
            "learning rate would never reach its peak",
        )


def _augmentation_complaints(
    training: Recovery, given: Given, labels: Mapping[str, LabelArray]
) -> Iterator[Complaint]:
    if training.augmentation is None:
        return
    shapes = [spec.shape for spec in given.model.inputs]
    if not any(shape is not None and len(shape) == 3 for shape in shapes):
        yield Complaint(
            pointer="/augmentation",
            detail="no input takes images (rows of height x width x channels). Leave it out",
        )
    for output, array in labels.items():
        if len(array.shape) > 1:
            yield Complaint(
                pointer="/augmentation",
                detail=f"output {output!r} has labels for each position, which would not move "
                "with the image. Leave it out",
            )
