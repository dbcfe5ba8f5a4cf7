"""What may be asked of distillation, and what validation refuses."""

from typing import Any

import pytest
from pydantic import ValidationError

from app.recipes.check import ImpossibleRecipe, check
from app.recipes.constraints import Constraints
from app.recipes.facts import Head, LabelArray, LayerSpec, ModelFacts, ModelFormat, TensorSpec
from app.recipes.recipe import Recipe
from app.recipes.steps.base import Given
from app.recipes.steps.distillation import Distillation
from app.recipes.steps.initialization import InitialWeights
from app.recipes.task import TaskKind
from tests.app.recipes.test_check import classifier, digits

NO_TARGETS = Constraints.model_validate({})
MODEL = {"student": "model", "student_model_id": "mdl_student"}

VALUES = digits(
    labels=(
        LabelArray(
            name=None,
            shape=(10,),
            dtype="float32",
            encoding="real",
            class_count=None,
            minimum=0,
            maximum=1,
        ),
    )
)


def ending(activation: str, *, name: str = "logits", units: int = 10) -> dict[str, Any]:
    """Changes of `classifier` that give it another end."""
    head = Head.model_validate(
        {
            "output": name,
            "shape": (units,),
            "activation": activation,
            "units": units,
            "compiled_loss": None,
        }
    )
    layer = LayerSpec(name=name, class_name="Dense", parameter_count=100)
    return {
        "heads": (head,),
        "outputs": (TensorSpec(name=name, shape=(units,), dtype="float32"),),
        "layers": (LayerSpec(name="conv_1", class_name="Conv2D", parameter_count=9), layer),
    }


def checked(
    step: dict[str, Any],
    *,
    model: ModelFacts | None = None,
    student: ModelFacts | None = None,
    teacher: ModelFacts | None = None,
    data: Any = None,
) -> Any:
    asked = Recipe.model_validate({"steps": [{"technique": "distillation", **step}]})
    named = {"mdl_student": student, "mdl_teacher": teacher}
    others = {model_id: facts for model_id, facts in named.items() if facts}
    given = Given(model or classifier(), data or digits(), others)
    return check(asked, ("keras",), given, NO_TARGETS)


def complaint(step: dict[str, Any], **given: Any) -> Any:
    with pytest.raises(ImpossibleRecipe) as refused:
        checked(step, **given)
    (only,) = refused.value.errors
    return only


@pytest.mark.parametrize(
    ("chosen", "parameter"),
    [
        ({"student": "same"}, {"width_multiplier": 0.25}),
        ({"student": "same"}, {"student_model_id": "mdl_1"}),
        ({"student": "width"}, {"removed_layers": ["conv_1"]}),
        ({"student": "depth", "removed_layers": ["conv_1"]}, {"width_multiplier": 0.25}),
        ({"student": "model"}, {"removed_layers": ["conv_1"]}),
        ({"soft_loss": "mse"}, {"temperature": 2.0}),
        ({"soft_loss": "cosine"}, {"temperature": 2.0}),
    ],
)
def test_parameter_without_effect_is_refused(
    chosen: dict[str, Any], parameter: dict[str, Any]
) -> None:
    ((choice, value),) = [item for item in chosen.items() if item[0] != "removed_layers"]
    (name,) = parameter

    with pytest.raises(ValidationError, match=f"{name} has no effect where {choice} is {value}"):
        Distillation.model_validate(chosen | parameter)


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"temperature": 0.0}, "temperature"),
        ({"distillation_weight": 1.5}, "distillation_weight"),
        ({"student": "width", "width_multiplier": 1.0}, "width_multiplier"),
        ({"student": "depth"}, "removed_layers is empty"),
        ({"distill": False}, "distill"),
        ({"feature_weight": 2.0}, "feature_weight has no effect without feature_layers"),
        ({"feature_layers": ["conv_1:"]}, "`name` or `student:teacher`"),
        ({"hard_loss": "mse", "loss": "huber"}, "hard_loss is mse, but loss is huber"),
        ({"teacher_model_ids": ["mdl_1", "mdl_2", "mdl_1"]}, "names mdl_1 twice"),
        (
            {"hard_loss": "cross_entropy", "loss": "huber"},
            "hard_loss is cross_entropy, but loss is huber",
        ),
        ({"initialization": "he"}, "initialization"),
        ({"initialization": {"scheme": "zeros", "gain": 2.0}}, "gain has no effect"),
    ],
)
def test_distillation_refuses_what_cannot_be(parameters: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Distillation.model_validate(parameters)


@pytest.mark.parametrize("hard_loss", ["auto", "mse", "cross_entropy"])
@pytest.mark.parametrize("student", ["same", "width", "depth", "model"])
def test_stored_step_with_every_default_is_taken(hard_loss: str, student: str) -> None:
    removed = {"removed_layers": ["conv_1"]} if student == "depth" else {}
    step = Distillation.model_validate({"student": student, "hard_loss": hard_loss, **removed})

    assert Distillation.model_validate_json(step.model_dump_json()) == step


def test_hard_loss_is_short_for_a_loss() -> None:
    assert Distillation(hard_loss="mse").training().loss == "mean_squared_error"
    assert Distillation(hard_loss="mse", loss="auto").training().loss == "mean_squared_error"
    assert Distillation(hard_loss="cross_entropy").training().loss == "auto"


def test_hard_cross_entropy_of_values_is_refused() -> None:
    refused = complaint({"hard_loss": "cross_entropy"}, data=VALUES)

    assert refused.pointer == "/recipe/steps/0/hard_loss"
    assert "Allowed: auto, mse" in refused.detail


def test_initialization_is_a_scheme_or_all_of_it() -> None:
    short = Distillation.model_validate({"initialization": "orthogonal"})
    full = Distillation.model_validate({"initialization": {"scheme": "orthogonal", "gain": 2.0}})

    assert short.initial_weights() == InitialWeights(scheme="orthogonal")
    assert full.initial_weights() == InitialWeights(scheme="orthogonal", gain=2.0)
    assert Distillation().initial_weights() is None


def test_feature_layers_are_pairs() -> None:
    step = Distillation.model_validate({"feature_layers": ["conv_1", "conv_2:block/conv_7"]})

    assert step.feature_pairs() == (("conv_1", "conv_1"), ("conv_2", "block/conv_7"))


def test_every_model_is_named_with_its_pointer() -> None:
    step = Distillation.model_validate(
        MODEL
        | {
            "teacher_model_ids": ["mdl_1", "mdl_2"],
            "initialization": {"scheme": "pretrained", "source_model_id": "mdl_3"},
        }
    )

    assert list(step.model_ids()) == [
        ("/teacher_model_ids/0", "mdl_1"),
        ("/teacher_model_ids/1", "mdl_2"),
        ("/student_model_id", "mdl_student"),
        ("/initialization/source_model_id", "mdl_3"),
    ]


def test_models_of_the_job_fill_what_is_open() -> None:
    open_step = Distillation(student="model")

    filled = open_step.with_models("mdl_teacher", "mdl_student")

    assert filled.teacher_model_ids == ("mdl_teacher",)
    assert filled.student_model_id == "mdl_student"
    assert filled.with_models("mdl_1", "mdl_2") == filled
    assert Distillation().with_models(None, "mdl_student") == Distillation()


def test_missing_student_is_refused() -> None:
    assert complaint({"student": "model"}).pointer == "/recipe/steps/0/student_model_id"


def test_distillation_needs_labels() -> None:
    assert complaint({}, data=digits(labels=())).pointer == "/dataset_id"


def test_student_with_other_names_is_taken() -> None:
    student = classifier(
        inputs=(TensorSpec(name="picture", shape=(28, 28, 1), dtype="float32"),),
        **ending("linear", name="classes"),
    )

    assert checked(MODEL, student=student).steps


@pytest.mark.parametrize(
    ("ours", "theirs"), [("linear", "softmax"), ("softmax", "linear"), ("softmax", "softmax")]
)
def test_student_that_can_end_as_the_model_does_is_taken(ours: str, theirs: str) -> None:
    model, student = classifier(**ending(ours)), classifier(**ending(theirs))

    assert checked(MODEL, model=model, student=student).steps


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"inputs": (TensorSpec(name="image", shape=(32, 32, 3), dtype="float32"),)},
            "has the shape (32, 32, 3); that of the job's model has (28, 28, 1)",
        ),
        (
            {"inputs": (TensorSpec(name="image", shape=(28, 28, 1), dtype="int32"),)},
            "takes int32, that of the job's model float32",
        ),
        (ending("linear", units=7), "has the shape (7); that of the job's model has (10)"),
        (ending("other"), "ends in other, that of the job's model in linear"),
        (
            ending("softmax")
            | {"layers": (LayerSpec(name="logits", class_name="Softmax", parameter_count=0),)},
            "its last layer is none whose activation could be changed",
        ),
        ({"format": ModelFormat.TFLITE}, "a tflite model cannot be"),
        ({"is_quantized": True}, "quantized already"),
    ],
)
def test_student_that_does_not_fit_is_refused(changes: dict[str, Any], reason: str) -> None:
    refused = complaint(MODEL, student=classifier(**changes))

    assert refused.pointer == "/recipe/steps/0/student_model_id"
    assert reason in refused.detail


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (ending("linear", units=7), "has the shape (7); that of the job's model has (10)"),
        (
            {"inputs": (TensorSpec(name="image", shape=(32, 32, 3), dtype="float32"),)},
            "has the shape (32, 32, 3)",
        ),
        ({"format": ModelFormat.TFLITE}, "a tflite model cannot be a teacher"),
    ],
)
def test_teacher_that_does_not_fit_is_refused(changes: dict[str, Any], reason: str) -> None:
    refused = complaint({"teacher_model_ids": ["mdl_teacher"]}, teacher=classifier(**changes))

    assert refused.pointer == "/recipe/steps/0/teacher_model_ids/0"
    assert reason in refused.detail


def test_teacher_of_unknown_scale_is_refused() -> None:
    other = classifier(**ending("other"))

    refused = complaint({"teacher_model_ids": ["mdl_teacher"]}, teacher=other)

    assert refused.pointer == "/recipe/steps/0/teacher_model_ids/0"
    assert "cannot be turned into the logits" in refused.detail


def test_model_of_unknown_scale_can_neither_teach_nor_learn() -> None:
    (head,) = ending("other")["heads"]
    compiled = head.model_copy(update={"compiled_loss": "sparse_categorical_crossentropy"})
    model = classifier(**ending("other") | {"heads": (compiled,)})

    assert complaint({}, model=model).pointer == "/recipe/steps/0"


def test_values_may_end_in_anything() -> None:
    model = classifier(**ending("other"))

    plan = checked({"teacher_model_ids": ["mdl_teacher"]}, model=model, teacher=model, data=VALUES)

    assert plan.tasks[0].kind is TaskKind.REGRESSION


def rnn_student() -> ModelFacts:
    """A student by other names, whose hidden layer has the name of the model's output."""
    layers = ("photo", "InputLayer", 0), ("logits", "LSTM", 9), ("scores", "Dense", 9)
    return classifier(
        **ending("linear", name="scores")
        | {
            "inputs": (TensorSpec(name="photo", shape=(28, 28, 1), dtype="float32"),),
            "layers": tuple(
                LayerSpec(name=name, class_name=kind, parameter_count=count)
                for name, kind, count in layers
            ),
            "is_recurrent": True,
        }
    )


def complaints_of(*steps: dict[str, Any]) -> list[tuple[str, str]]:
    given = Given(classifier(), digits(), {"mdl_student": rnn_student()})
    asked = Recipe.model_validate({"steps": steps})
    with pytest.raises(ImpossibleRecipe) as refused:
        check(asked, ("keras", "tflite"), given, NO_TARGETS)
    return [(complaint.pointer, complaint.detail) for complaint in refused.value.errors]


def test_steps_after_an_uploaded_student_are_checked_against_it() -> None:
    taught = {"technique": "distillation", **MODEL}
    pruned = {"technique": "magnitude_pruning", "sparsity": 0.5, "include": ["conv_1"]}

    (layer, recurrence) = complaints_of(taught, pruned, {"technique": "full_integer_quantization"})

    assert layer == (
        "/recipe/steps/1/include/0",
        "'conv_1' matches no layer. Layers: image, logits_inner_1, logits",
    )
    assert recurrence[0] == "/recipe/steps/2/technique"
    assert "recurrent" in recurrence[1]


def test_features_after_an_uploaded_student_are_its_own_and_the_uploaded_teachers() -> None:
    taught = {"technique": "distillation", **MODEL}
    compared = {"technique": "distillation", "feature_layers": ["logits_inner_1:conv_1", "conv_1"]}

    ((pointer, detail),) = complaints_of(taught, compared)

    assert pointer == "/recipe/steps/1/feature_layers/1"
    assert detail.startswith("the student has no layer 'conv_1'")


def test_plan_warns_of_what_an_uploaded_student_throws_away() -> None:
    pruned = {"technique": "magnitude_pruning", "sparsity": 0.5}
    taught = {"technique": "distillation", **MODEL}
    given = Given(classifier(), digits(), {"mdl_student": rnn_student()})

    first, second = (
        check(Recipe.model_validate({"steps": steps}), ("keras",), given, NO_TARGETS).warnings
        for steps in ([taught, pruned], [pruned, taught])
    )

    assert not first
    assert any("thrown away: magnitude_pruning" in warning for warning in second)


def test_unknown_removed_layer_is_refused() -> None:
    refused = complaint({"student": "depth", "removed_layers": ["conv_1", "conv_9"]})

    assert refused.pointer == "/recipe/steps/0/removed_layers/1"
    assert "conv_1, logits" in refused.detail


def test_cosine_of_one_unit_is_refused() -> None:
    two_classes = digits().labels[0].model_copy(update={"class_count": 2, "maximum": 1})
    given: dict[str, Any] = {
        "model": classifier(**ending("sigmoid", units=1)),
        "data": digits(labels=(two_classes,)),
    }

    refused = complaint({"soft_loss": "cosine"}, **given)

    assert refused.pointer == "/recipe/steps/0/soft_loss"
    assert "Allowed: kl, mse" in refused.detail
    assert checked({"soft_loss": "mse"}, **given).steps


@pytest.mark.parametrize(
    ("name", "reason"), [("logits", "an output of the model"), ("flat", "a Flatten has no weights")]
)
def test_removed_layer_that_has_to_stay_is_refused(name: str, reason: str) -> None:
    flat = LayerSpec(name="flat", class_name="Flatten", parameter_count=0)
    model = classifier(layers=(*classifier().layers, flat))

    refused = complaint({"student": "depth", "removed_layers": [name]}, model=model)

    assert refused.pointer == "/recipe/steps/0/removed_layers/0"
    assert reason in refused.detail


def test_layer_without_weights_may_name_the_block_it_is_in() -> None:
    block = (
        LayerSpec(name="pool", class_name="MaxPooling2D", parameter_count=0),
        LayerSpec(name="sum", class_name="Add", parameter_count=0),
    )
    model = classifier(layers=(*classifier().layers, *block))

    assert checked({"student": "depth", "removed_layers": ["pool"]}, model=model).steps


def test_feature_layer_inside_a_nested_model_is_refused() -> None:
    refused = complaint({"feature_layers": ["conv_1:block/conv_1"]})

    assert refused.pointer == "/recipe/steps/0/feature_layers/0"
    assert "'block/conv_1' of the teacher leads into a nested model" in refused.detail


@pytest.mark.parametrize("parameter", [{"temperature": 2.0}, {"soft_loss": "mse"}])
def test_plan_warns_of_what_regression_does_not_read(parameter: dict[str, Any]) -> None:
    (name,) = parameter

    assert any(f"{name} has no effect" in w for w in checked(parameter, data=VALUES).warnings)
    assert not checked(parameter).warnings
    assert not checked({}, data=VALUES).warnings


def test_unknown_feature_layer_is_told_whose_it_is() -> None:
    teacher = classifier(layers=(LayerSpec(name="block", class_name="Conv2D", parameter_count=9),))
    asked = {"teacher_model_ids": ["mdl_teacher"], "feature_layers": ["conv_1:block", "conv_1"]}

    refused = complaint(asked, teacher=teacher)

    assert refused.pointer == "/recipe/steps/0/feature_layers/1"
    assert refused.detail == "the teacher has no layer 'conv_1'. Layers: block"


def test_plan_warns_of_a_teacher_that_is_not_listened_to() -> None:
    assert any("not listened to" in w for w in checked({"distillation_weight": 0.0}).warnings)
    assert not checked({}).warnings
