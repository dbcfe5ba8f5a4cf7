"""What a model's output means for given labels: read, never guessed silently; pure.

The head says how the output is scaled (softmax, sigmoid, linear), the labels say what it is
compared with, the compiled loss settles what both leave open. `understand` answers with the task
or with the reason why there is none.
"""

from enum import StrEnum
from typing import Literal

from app.errors import Invalid
from app.recipes.facts import Facts, Head, LabelArray, shape_fits, shape_text


class TaskKind(StrEnum):
    CLASSIFICATION = "classification"
    BINARY_CLASSIFICATION = "binary_classification"
    MULTI_LABEL = "multi_label"
    REGRESSION = "regression"


class Task(Facts):
    """One output's task. `because` is the sentence the report prints."""

    output: str
    kind: TaskKind
    output_is: Literal["logits", "probabilities", "values"]
    labels_are: Literal["integer", "one_hot", "multi_hot", "real"]
    class_count: int | None
    because: str

    @property
    def is_classification(self) -> bool:
        return self.kind is not TaskKind.REGRESSION


class LabelsDoNotFit(Invalid):
    code = "labels_do_not_fit"
    title = "The labels do not fit the model's output"


CROSS_ENTROPIES = (
    "binary_crossentropy",
    "categorical_crossentropy",
    "sparse_categorical_crossentropy",
)


def understand(head: Head, labels: LabelArray) -> Task:
    """The task of one output.

    Raises: LabelsDoNotFit with what was given and what would fit.
    """
    labels = _as_positions(head, labels)
    task = _task(head, labels)
    _check_shape(head, task, labels)
    return task


def _task(head: Head, labels: LabelArray) -> Task:
    if labels.encoding == "real":
        if head.compiled_loss in CROSS_ENTROPIES:
            raise LabelsDoNotFit(
                f"the model was compiled with {head.compiled_loss}, but the labels of output "
                f"{head.output!r} are real numbers ({labels.dtype})",
                hint="Store class labels as integers.",
            )
        return _values(head, labels, "the labels are real numbers")
    if head.compiled_loss == "regression":
        return _values(head, labels, "the model was compiled with a regression loss")
    if head.activation == "other":
        return _values_or_refuse(head, labels)
    if head.units is not None and head.units == 1:
        return _one_unit(head, labels)
    if head.activation == "sigmoid" and head.compiled_loss not in CROSS_ENTROPIES[1:]:
        return _many_sigmoids(head, labels)
    if _is_a_number_for_each_unit(head, labels):
        return _values(head, labels, "the labels are whole numbers, one for each linear unit")
    return _classes(head, labels)


def _as_positions(head: Head, labels: LabelArray) -> LabelArray:
    """Two classes at each position look like zeros and ones in rows; the output's shape tells."""
    if labels.encoding not in ("one_hot", "multi_hot") or head.shape is None:
        return labels
    if shape_fits(labels.shape, head.shape) or not shape_fits(labels.shape, head.shape[:-1]):
        return labels
    return labels.model_copy(update={"encoding": "integer", "class_count": 2})


def _is_a_number_for_each_unit(head: Head, labels: LabelArray) -> bool:
    is_undecided = head.activation == "linear" and head.compiled_loss is None
    if not is_undecided or labels.encoding != "integer" or not labels.shape:
        return False
    return shape_fits(labels.shape, head.shape) if head.shape else labels.shape[-1] == head.units


def _check_shape(head: Head, task: Task, labels: LabelArray) -> None:
    """Labels are one for each position of the output, or one for each of its units."""
    if head.shape is None:
        if task.kind is TaskKind.REGRESSION and head.units not in (None, 1):
            _same_width(head, labels)
        return
    each_position = head.shape[:-1]
    allowed = [head.shape]
    if task.labels_are == "integer" and task.is_classification:
        allowed = [each_position, (*each_position, 1)]
    elif task.kind is TaskKind.REGRESSION and head.shape[-1:] == (1,):
        allowed = [each_position, head.shape]
    if not any(shape_fits(labels.shape, shape) for shape in allowed):
        raise LabelsDoNotFit(
            f"label rows have the shape {shape_text(labels.shape)}, output {head.output!r} has "
            f"{shape_text(head.shape)}",
            hint=f"Give rows of the shape {' or '.join(map(shape_text, allowed))}; class labels as "
            "integers.",
        )


def _values(head: Head, labels: LabelArray, because: str) -> Task:
    if head.activation == "softmax":
        raise LabelsDoNotFit(
            f"output {head.output!r} ends in softmax, so it gives class probabilities, but "
            f"{because}",
            hint="Give integer class labels (0..classes-1) or one-hot rows.",
        )
    return Task(
        output=head.output,
        kind=TaskKind.REGRESSION,
        output_is="values",
        labels_are=labels.encoding,
        class_count=None,
        because=f"{because}: regression",
    )


def _values_or_refuse(head: Head, labels: LabelArray) -> Task:
    if head.compiled_loss is None:
        raise LabelsDoNotFit(
            f"output {head.output!r} ends in an activation that is none of softmax, sigmoid or "
            "linear, and the model carries no compiled loss that is known here, so what it "
            "predicts cannot be told",
            hint="Compile the model with a loss of Keras, or give real-valued labels.",
        )
    kind = {
        "binary_crossentropy": TaskKind.BINARY_CLASSIFICATION,
        "categorical_crossentropy": TaskKind.CLASSIFICATION,
        "sparse_categorical_crossentropy": TaskKind.CLASSIFICATION,
    }[head.compiled_loss]
    return Task(
        output=head.output,
        kind=kind,
        output_is="probabilities",
        labels_are=labels.encoding,
        class_count=head.units,
        because=f"the model was compiled with {head.compiled_loss}",
    )


def _one_unit(head: Head, labels: LabelArray) -> Task:
    two_classes = labels.encoding == "integer" and labels.minimum >= 0 and labels.maximum <= 1
    if head.activation == "sigmoid" or head.compiled_loss == "binary_crossentropy":
        if not two_classes:
            raise LabelsDoNotFit(
                f"output {head.output!r} is one unit for two classes; labels reach from "
                f"{labels.minimum:g} to {labels.maximum:g}, encoded as {labels.encoding}",
                hint="Labels must be 0 or 1.",
            )
        is_probability = head.activation == "sigmoid"
        return Task(
            output=head.output,
            kind=TaskKind.BINARY_CLASSIFICATION,
            output_is="probabilities" if is_probability else "logits",
            labels_are="integer",
            class_count=2,
            because="one unit ending in sigmoid"
            if is_probability
            else "one linear unit compiled with binary cross-entropy",
        )
    if two_classes and head.activation == "linear" and head.compiled_loss is None:
        raise LabelsDoNotFit(
            f"output {head.output!r} is one linear unit and the labels are 0 and 1: that may be a "
            "logit of two classes or a value, and the model carries no compiled loss that is known "
            "here",
            hint="Compile the model with a loss of Keras (from_logits=True for a logit).",
        )
    if head.activation == "softmax":
        raise LabelsDoNotFit(
            f"output {head.output!r} is a softmax over one unit, which is always 1",
            hint="Use sigmoid for two classes, or one unit a class.",
        )
    return _values(head, labels, "one linear unit and no classification loss compiled")


def _many_sigmoids(head: Head, labels: LabelArray) -> Task:
    if labels.encoding == "integer" and labels.shape[-1:] != (head.units,):
        return _classes(head, labels)
    _same_width(head, labels)
    return Task(
        output=head.output,
        kind=TaskKind.MULTI_LABEL,
        output_is="probabilities",
        labels_are="one_hot" if labels.encoding == "one_hot" else "multi_hot",
        class_count=head.units,
        because="several units ending in sigmoid, one label each",
    )


def _classes(head: Head, labels: LabelArray) -> Task:
    if labels.encoding == "multi_hot":
        raise LabelsDoNotFit(
            f"output {head.output!r} chooses one class, but some label rows name several",
            hint="Give one class a row, or a model with sigmoid outputs.",
        )
    if labels.encoding == "one_hot":
        _same_width(head, labels)
    elif head.units is not None and labels.maximum >= head.units:
        raise LabelsDoNotFit(
            f"labels reach {labels.maximum:g}, but output {head.output!r} has {head.units} classes",
            hint=f"Integer labels must lie in 0..{head.units - 1}.",
        )
    elif labels.minimum < 0:
        raise LabelsDoNotFit(
            f"labels reach down to {labels.minimum:g}; class labels start at 0",
            hint="Number the classes from 0.",
        )
    is_probability = head.activation in ("softmax", "sigmoid")
    return Task(
        output=head.output,
        kind=TaskKind.CLASSIFICATION,
        output_is="probabilities" if is_probability else "logits",
        labels_are="one_hot" if labels.encoding == "one_hot" else "integer",
        class_count=head.units,
        because=f"{head.units or 'several'} units ending in {head.activation}, "
        f"{labels.encoding.replace('_', '-')} labels",
    )


def _same_width(head: Head, labels: LabelArray) -> None:
    width = labels.shape[-1] if labels.shape else 1
    if head.units is not None and width != head.units:
        raise LabelsDoNotFit(
            f"label rows have {width} columns, but output {head.output!r} has {head.units} units",
            hint=f"Give {head.units} columns, or integer labels in 0..{head.units - 1}.",
        )
