"""Reading what an output means from its head and its labels."""

import pytest

from app.recipes.facts import Activation, CompiledLoss, Head, LabelArray
from app.recipes.task import LabelsDoNotFit, Task, TaskKind, understand


def head(
    activation: Activation, units: int | None, compiled_loss: CompiledLoss | None = None
) -> Head:
    return Head(
        output="y", shape=None, activation=activation, units=units, compiled_loss=compiled_loss
    )


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
        (head("linear", 1, "regression"), integers(0, 1), TaskKind.REGRESSION, "values"),
        (head("linear", 1), integers(-5, 900), TaskKind.REGRESSION, "values"),
        (head("linear", 1), rows("real", 1), TaskKind.REGRESSION, "values"),
        (head("linear", 4), rows("real", 4), TaskKind.REGRESSION, "values"),
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
        (head("linear", 1), integers(0, 1), "from_logits"),
        (head("linear", 5), rows("real", 1), "5 columns"),
        (head("linear", 5, "sparse_categorical_crossentropy"), rows("real", 1), "integers"),
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


def shaped(shape: tuple[int | None, ...], activation: Activation) -> Head:
    return Head(output="y", shape=shape, activation=activation, units=shape[-1], compiled_loss=None)


def labelled(encoding: str, shape: tuple[int, ...], maximum: float = 1.0) -> LabelArray:
    return rows(encoding, 1).model_copy(update={"shape": shape, "maximum": maximum})


@pytest.mark.parametrize(
    ("given", "labels", "kind"),
    [
        (shaped((8, 8, 2), "softmax"), labelled("multi_hot", (8, 8)), TaskKind.CLASSIFICATION),
        (shaped((None, 2), "softmax"), labelled("one_hot", (12,)), TaskKind.CLASSIFICATION),
        (shaped((8, 1), "sigmoid"), labelled("multi_hot", (8,)), TaskKind.BINARY_CLASSIFICATION),
        (shaped((2,), "softmax"), labelled("one_hot", (2,)), TaskKind.CLASSIFICATION),
        (shaped((3,), "linear"), labelled("integer", (3,), 90.0), TaskKind.REGRESSION),
        (shaped((1,), "linear"), labelled("real", ()), TaskKind.REGRESSION),
        (shaped((7, 1), "linear"), labelled("real", (7,)), TaskKind.REGRESSION),
    ],
)
def test_shape_of_the_output_tells_positions_from_units(
    given: Head, labels: LabelArray, kind: TaskKind
) -> None:
    assert understand(given, labels).kind is kind


@pytest.mark.parametrize(
    ("given", "labels"),
    [
        (shaped((10,), "linear"), labelled("real", ())),
        (shaped((10,), "linear"), labelled("real", (7,))),
        (shaped((1,), "linear"), labelled("real", (5,))),
        (shaped((3,), "softmax"), labelled("integer", (4,))),
        (shaped((8, 8, 3), "softmax"), labelled("integer", ())),
    ],
)
def test_labels_of_another_shape_are_refused(given: Head, labels: LabelArray) -> None:
    with pytest.raises(LabelsDoNotFit, match="shape"):
        understand(given, labels)


def test_several_sigmoids_are_one_choice_when_they_were_compiled_so() -> None:
    task = understand(head("sigmoid", 3, "categorical_crossentropy"), rows("one_hot", 3))

    assert task.kind is TaskKind.CLASSIFICATION
