"""Reading what an output means from its head and its labels."""

import pytest

from app.recipes.facts import Activation, CompiledLoss, Head, LabelArray
from app.recipes.task import LabelsDoNotFit, Task, TaskKind, understand


def head(
    activation: Activation, units: int | None, compiled_loss: CompiledLoss | None = None
) -> Head:
    return Head(output="y", activation=activation, units=units, compiled_loss=compiled_loss)


def integers(low: float, high: float) -> LabelArray:
    return LabelArray(
        name=None,
        shape=(),
        dtype="uint8",
        encoding="integer",
        class_count=int(high - low + 1),
        minimum=low,
        maximum=high,
    )


def rows(encoding: str, width: int) -> LabelArray:
    return LabelArray.model_validate(
        {
            "name": None,
            "shape": (width,),
            "dtype": "float32",
            "encoding": encoding,
            "class_count": None if encoding == "real" else width,
            "minimum": 0.0,
            "maximum": 1.0,
        }
    )


@pytest.mark.parametrize(
    ("given", "labels", "kind", "output_is"),
    [
        (head("softmax", 10), integers(0, 9), TaskKind.CLASSIFICATION, "probabilities"),
        (head("linear", 10), integers(0, 9), TaskKind.CLASSIFICATION, "logits"),
        (head("softmax", 3), rows("one_hot", 3), TaskKind.CLASSIFICATION, "probabilities"),
        (head("linear", 3), rows("one_hot", 3), TaskKind.CLASSIFICATION, "logits"),
        (head("sigmoid", 1), integers(0, 1), TaskKind.BINARY_CLASSIFICATION, "probabilities"),
        (
            head("linear", 1, "binary_crossentropy"),
            integers(0, 1),
            TaskKind.BINARY_CLASSIFICATION,
            "logits",
        ),
        (head("linear", 1), integers(0, 1), TaskKind.REGRESSION, "values"),
        (head("linear", 1), integers(-5, 900), TaskKind.REGRESSION, "values"),
        (head("linear", 1), rows("real", 1), TaskKind.REGRESSION, "values"),
        (head("linear", 4), rows("real", 4), TaskKind.REGRESSION, "values"),
        (head("linear", 10, "regression"), integers(0, 9), TaskKind.REGRESSION, "values"),
        (head("sigmoid", 5), rows("multi_hot", 5), TaskKind.MULTI_LABEL, "probabilities"),
        (head("sigmoid", 5), integers(0, 4), TaskKind.CLASSIFICATION, "probabilities"),
    ],
)
def test_task_is_read_from_head_and_labels(
    given: Head, labels: LabelArray, kind: TaskKind, output_is: str
) -> None:
    task: Task = understand(given, labels)

    assert (task.kind, task.output_is) == (kind, output_is)
    assert task.because


@pytest.mark.parametrize(
    ("given", "labels", "says"),
    [
        (head("softmax", 10), integers(0, 10), "0..9"),
        (head("softmax", 10), integers(-1, 9), "from 0"),
        (head("softmax", 10), rows("one_hot", 3), "10 columns"),
        (head("softmax", 3), rows("multi_hot", 3), "sigmoid"),
        (head("softmax", 3), rows("real", 3), "one-hot"),
        (head("softmax", 1), integers(0, 1), "sigmoid"),
        (head("sigmoid", 1), integers(0, 2), "0 or 1"),
        (head("other", 10), integers(0, 9), "Compile"),
    ],
)
def test_labels_that_do_not_fit_are_refused_with_the_way_out(
    given: Head, labels: LabelArray, says: str
) -> None:
    with pytest.raises(LabelsDoNotFit) as refused:
        understand(given, labels)

    assert says in (refused.value.hint or "")


def test_compiled_loss_decides_when_the_activation_is_unknown() -> None:
    task = understand(head("other", 4, "sparse_categorical_crossentropy"), integers(0, 3))

    assert task.kind is TaskKind.CLASSIFICATION
    assert "compiled" in task.because
