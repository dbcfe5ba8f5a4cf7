"""Whether one model can teach another, or stand in for it."""

import pytest

from app.recipes.facts import Activation, Head, ModelFacts, ModelFormat, TensorSpec
from app.recipes.fit import model_complaints

Shape = tuple[int | None, ...] | None
Shapes = dict[str, Shape]

IMAGES: Shapes = {"image": (28, 28, 1)}
TEN: Shapes = {"logits": (10,)}


def net(
    inputs: Shapes = IMAGES, outputs: Shapes = TEN, activation: Activation = "linear"
) -> ModelFacts:
    return ModelFacts(
        format=ModelFormat.KERAS,
        class_name="Functional",
        inputs=tuple(TensorSpec(name=n, shape=s, dtype="float32") for n, s in inputs.items()),
        outputs=tuple(TensorSpec(name=n, shape=s, dtype="float32") for n, s in outputs.items()),
        heads=tuple(
            Head(output=n, shape=s, activation=activation, units=None, compiled_loss=None)
            for n, s in outputs.items()
        ),
        layers=(),
        layer_count=0,
        parameter_count=0,
        is_recurrent=False,
        is_quantized=False,
        keras_version=None,
    )


def details(model: ModelFacts, other: ModelFacts) -> list[str]:
    complaints = list(model_complaints(model, other, "/teacher_model_id"))
    assert {complaint.pointer for complaint in complaints} <= {"/teacher_model_id"}
    return [complaint.detail for complaint in complaints]


@pytest.mark.parametrize(
    "other",
    [
        net(),
        net(inputs={"photo": (28, 28, 1)}, outputs={"scores": (10,)}),
        net(inputs={"image": (None, None, 1)}),
        net(inputs={"image": None}, outputs={"logits": None}),
        net(activation="softmax"),
    ],
    ids=["same", "other names", "any size", "unknown", "probabilities beside logits"],
)
def test_model_fits_where_every_known_length_agrees(other: ModelFacts) -> None:
    assert details(net(), other) == []


def test_complaint_names_both_shapes_of_an_input() -> None:
    (detail,) = details(net(), net(inputs={"image": (32, 32, 3)}))

    assert detail == (
        "this model's input 'image' has the shape (32, 32, 3); "
        "that of the job's model has (28, 28, 1)"
    )


def test_complaint_names_both_shapes_of_an_output() -> None:
    assert details(net(), net(outputs={"scores": (100,)})) == [
        "this model's output 'scores' has the shape (100); that of the job's model has (10)"
    ]


def test_number_of_axes_must_agree() -> None:
    assert len(details(net(), net(inputs={"image": (28, 28)}))) == 1


def test_several_inputs_are_paired_by_name() -> None:
    two: Shapes = {"left": (4,), "right": (5,)}

    assert details(net(inputs=two), net(inputs={"right": (5,), "left": (4,)})) == []
    (detail,) = details(net(inputs=two), net(inputs={"left": (4,), "middle": (5,)}))
    assert detail.startswith(
        "this model has the inputs left, middle; the job's model has left, right."
    )


def test_one_choice_among_classes_does_not_fit_a_judgment_of_each() -> None:
    (detail,) = details(net(activation="softmax"), net(activation="sigmoid"))

    assert "ends in sigmoid, that of the job's model in softmax" in detail
