"""Whether a data set or another model fits a model: names, shapes, labels and heads; pure."""

from collections.abc import Iterator, Mapping
from typing import TypeVar

from app.errors import Complaint
from app.recipes.facts import (
    DatasetFacts,
    Head,
    InputArray,
    LabelArray,
    ModelFacts,
    TensorSpec,
    shape_fits,
    shape_text,
    shapes_agree,
)
from app.recipes.outputs import HOLDING_TFLITE, OutputKind
from app.recipes.task import LabelsDoNotFit, Task, understand

POINTER = "/dataset_id"

T = TypeVar("T")
Shape = tuple[int | None, ...] | None
# What a softmax says of one class among all, a sigmoid says of each by itself.
PROBABILITIES = frozenset({"softmax", "sigmoid"})


def fitted_shape(
    data: tuple[int, ...], wanted: tuple[int | None, ...] | None
) -> tuple[int, ...] | None:
    """The shape the model will be given: as it is, or with a channel axis added; None = no fit."""
    if wanted is None or shape_fits(data, wanted):
        return data
    with_channel = (*data, 1)
    return with_channel if shape_fits(with_channel, wanted) else None


def input_complaints(model: ModelFacts, dataset: DatasetFacts) -> Iterator[Complaint]:
    """What keeps the data's inputs from being fed to the model."""
    pairs = pair_inputs(model, dataset)
    if pairs is None:
        wanted = ", ".join(spec.name for spec in model.inputs)
        given = ", ".join(array.name or "x" for array in dataset.inputs)
        yield Complaint(
            pointer=POINTER,
            detail=f"the model has the inputs {wanted}; the data set has {given}. Name the arrays "
            f"x_train.<input name>, one for each input",
        )
        return
    for spec, array in pairs:
        if fitted_shape(array.shape, spec.shape) is None:
            yield Complaint(
                pointer=POINTER,
                detail=f"input {spec.name!r} takes rows of shape {shape_text(spec.shape)}; "
                f"the data set's rows have shape {shape_text(array.shape)}",
            )


def pair_inputs(
    model: ModelFacts, dataset: DatasetFacts
) -> tuple[tuple[TensorSpec, InputArray], ...] | None:
    """Inputs with their arrays: by name, or the only one with the only one."""
    if len(model.inputs) == len(dataset.inputs) == 1:
        return ((model.inputs[0], dataset.inputs[0]),)
    arrays = {array.name: array for array in dataset.inputs}
    if set(arrays) != {spec.name for spec in model.inputs}:
        return None
    return tuple((spec, arrays[spec.name]) for spec in model.inputs)


def open_inputs(model: ModelFacts) -> list[TensorSpec]:
    """Inputs of any length: a data set tells which."""
    return [spec for spec in model.inputs if spec.shape is not None and None in spec.shape]


def length_complaints(
    outputs: tuple[OutputKind, ...], model: ModelFacts, dataset: DatasetFacts | None
) -> Iterator[Complaint]:
    """Open lengths that no data set tells, where a file needs to know them."""
    if dataset is not None or not HOLDING_TFLITE & set(outputs):
        return
    for spec in open_inputs(model):
        yield Complaint(
            pointer=POINTER,
            detail=f"a tflite file has fixed lengths, and input {spec.name!r} has the shape "
            f"{shape_text(spec.shape)}: give a data set, whose rows have a length",
            hint="Give a dataset_id, save the model with fixed input shapes, or ask for outputs "
            f"without {' and '.join(sorted(HOLDING_TFLITE & set(outputs)))}.",
        )


def read_tasks(
    model: ModelFacts, dataset: DatasetFacts
) -> tuple[tuple[Task, ...], tuple[Complaint, ...]]:
    """The task of every output, and what keeps labels from fitting."""
    if not dataset.labels:
        return (), ()
    pairs = _labels_by_output(model, dataset)
    if pairs is None:
        wanted = ", ".join(head.output for head in model.heads)
        given = ", ".join(array.name or "y" for array in dataset.labels)
        detail = (
            f"the model has the outputs {wanted}; the data set labels {given}. Name the arrays "
            f"y_train.<output name>, one for each output"
        )
        return (), (Complaint(pointer=POINTER, detail=detail),)
    tasks: list[Task] = []
    complaints: list[Complaint] = []
    for index, labels in pairs:
        try:
            tasks.append(understand(model.heads[index], labels))
        except LabelsDoNotFit as error:
            hint = f". {error.hint}" if error.hint else ""
            complaints.append(Complaint(pointer=POINTER, detail=error.detail + hint))
    return tuple(tasks), tuple(complaints)


def _labels_by_output(
    model: ModelFacts, dataset: DatasetFacts
) -> tuple[tuple[int, LabelArray], ...] | None:
    if len(model.heads) == len(dataset.labels) == 1:
        return ((0, dataset.labels[0]),)
    labels = {array.name: array for array in dataset.labels}
    if set(labels) != {head.output for head in model.heads}:
        return None
    return tuple((index, labels[head.output]) for index, head in enumerate(model.heads))


def model_complaints(model: ModelFacts, other: ModelFacts, pointer: str) -> Iterator[Complaint]:
    """What keeps `other` from teaching the job's model, or from standing in for it as a student."""
    our_heads = {head.output: head for head in model.heads}
    their_heads = {head.output: head for head in other.heads}
    for detail in (
        *_shape_differences(
            "input",
            {spec.name: spec.shape for spec in model.inputs},
            {spec.name: spec.shape for spec in other.inputs},
        ),
        *_shape_differences(
            "output",
            {name: head.shape for name, head in our_heads.items()},
            {name: head.shape for name, head in their_heads.items()},
        ),
        *_head_differences(our_heads, their_heads),
    ):
        yield Complaint(pointer=pointer, detail=detail)


def _shape_differences(
    what: str, ours: Mapping[str, Shape], theirs: Mapping[str, Shape]
) -> Iterator[str]:
    wanted = _under_their_names(ours, theirs)
    if wanted is None:
        yield (
            f"this model has the {what}s {', '.join(theirs)}; the job's model has "
            f"{', '.join(ours)}. They are paired by name, so both must have the same names"
        )
        return
    for name, shape in theirs.items():
        if not shapes_agree(shape, wanted[name]):
            yield (
                f"this model's {what} {name!r} has the shape {shape_text(shape)}; "
                f"that of the job's model has {shape_text(wanted[name])}"
            )


def _head_differences(ours: Mapping[str, Head], theirs: Mapping[str, Head]) -> Iterator[str]:
    wanted = _under_their_names(ours, theirs) or {}
    for name, head in wanted.items():
        activation = theirs[name].activation
        if {activation, head.activation} == PROBABILITIES:
            yield (
                f"this model's output {name!r} ends in {activation}, that of the job's model in "
                f"{head.activation}: a softmax chooses among classes, a sigmoid judges each alone"
            )


def scale_complaints(
    teacher: ModelFacts, tasks: tuple[Task, ...], pointer: str
) -> Iterator[Complaint]:
    """What keeps logits from being read off a teacher's outputs, where they tell of classes."""
    heads = {head.output: head for head in teacher.heads}
    paired = _under_their_names({task.output: task for task in tasks}, heads) or {}
    for name, task in paired.items():
        if task.is_classification and heads[name].activation == "other":
            yield Complaint(
                pointer=pointer,
                detail=f"output {name!r} of the teacher ends in none of softmax, sigmoid, "
                "log_softmax or linear, so its answers cannot be turned into the logits that a "
                f"student learns from ({task.kind}). Name a teacher that ends in one of these, or "
                "train without distill",
            )


def _under_their_names(
    ours: Mapping[str, T], theirs: Mapping[str, object]
) -> Mapping[str, T] | None:
    """The only one goes with the only one, several by name; None where the names differ."""
    if len(ours) == len(theirs) == 1:
        return dict(zip(theirs, ours.values(), strict=True))
    return ours if set(ours) == set(theirs) else None
