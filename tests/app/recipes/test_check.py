"""What validation refuses, and what it points at."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from app.errors import Complaint
from app.recipes.check import ImpossibleRecipe, QuantizedModel, check
from app.recipes.constraints import Constraints
from app.recipes.facts import (
    DatasetFacts,
    Head,
    InputArray,
    LabelArray,
    LayerSpec,
    ModelFacts,
    ModelFormat,
    TensorSpec,
)
from app.recipes.outputs import OutputKind
from app.recipes.plan import PlannedSkip
from app.recipes.recipe import Recipe
from app.recipes.steps import step_types
from app.recipes.steps.base import Given, Skip, Transform
from app.recipes.steps.recovery import Recovery

INT8 = {"technique": "full_integer_quantization"}
PRUNE = {"technique": "magnitude_pruning", "sparsity": 0.9}
NO_TARGETS = Constraints.model_validate({})


def classifier(**changes: Any) -> ModelFacts:
    facts = ModelFacts(
        format=ModelFormat.KERAS,
        class_name="Sequential",
        inputs=(TensorSpec(name="image", shape=(28, 28, 1), dtype="float32"),),
        outputs=(TensorSpec(name="logits", shape=(10,), dtype="float32"),),
        heads=(
            Head(output="logits", shape=(10,), activation="linear", units=10, compiled_loss=None),
        ),
        layers=(
            LayerSpec(name="conv_1", class_name="Conv2D", parameter_count=100),
            LayerSpec(name="logits", class_name="Dense", parameter_count=100),
        ),
        layer_count=2,
        parameter_count=200,
        is_recurrent=False,
        is_quantized=False,
        keras_version="3.15.1",
    )
    return facts.model_copy(update=changes)


def digits(**changes: Any) -> DatasetFacts:
    facts = DatasetFacts(
        format="npz",
        train_rows=1000,
        test_rows=200,
        is_split_here=False,
        inputs=(InputArray(name=None, shape=(28, 28), dtype="uint8", minimum=0, maximum=255),),
        labels=(
            LabelArray(
                name=None,
                shape=(),
                dtype="uint8",
                encoding="integer",
                class_count=10,
                minimum=0,
                maximum=9,
            ),
        ),
        notes=(),
    )
    return facts.model_copy(update=changes)


def recipe(*steps: dict[str, Any]) -> Recipe:
    return Recipe.model_validate({"steps": steps})


def pointers_of(
    asked: Recipe,
    model: ModelFacts,
    dataset: DatasetFacts | None,
    outputs: tuple[OutputKind, ...] = ("keras", "tflite"),
    constraints: Constraints = NO_TARGETS,
) -> list[str]:
    with pytest.raises(ImpossibleRecipe) as refused:
        check(asked, outputs, Given(model, dataset), constraints)
    return [complaint.pointer for complaint in refused.value.errors]


def test_plan_counts_the_optimizer_steps_of_the_training() -> None:
    pruning = PRUNE | {"recovery": {"epochs": 3, "batch_size": 64, "validation_fraction": 0.1}}

    plan = check(recipe(pruning, INT8), ("tflite",), Given(classifier(), digits()), NO_TARGETS)

    assert plan.optimizer_steps == 3 * 15  # 900 rows / 64, rounded up
    assert [step.technique for step in plan.steps] == [
        "magnitude_pruning",
        "full_integer_quantization",
    ]


def test_data_gains_a_channel_axis_when_only_that_is_missing() -> None:
    assert check(recipe(INT8), ("tflite",), Given(classifier(), digits()), NO_TARGETS).tasks


def test_conversion_must_be_the_last_step() -> None:
    assert pointers_of(recipe(INT8, PRUNE), classifier(), digits()) == ["/recipe/steps/0"]


def test_conversion_needs_a_tflite_output() -> None:
    assert pointers_of(recipe(INT8), classifier(), digits(), ("keras",)) == ["/outputs"]


def test_calibration_needs_a_data_set() -> None:
    assert pointers_of(recipe(INT8), classifier(), None) == ["/dataset_id"]


def test_gradual_schedule_needs_labels() -> None:
    gradual = PRUNE | {"schedule": "polynomial"}

    assert pointers_of(recipe(gradual), classifier(), digits(labels=())) == ["/dataset_id"]


def test_labels_that_nothing_would_miss_are_missed() -> None:
    unlabelled = digits(labels=())
    assert pointers_of(recipe(PRUNE), classifier(), unlabelled) == ["/dataset_id"]
    assert not check(recipe(INT8), ("tflite",), Given(classifier(), unlabelled), NO_TARGETS).tasks


def test_unlabelled_data_is_taken_for_its_lengths() -> None:
    spec = TensorSpec(name="image", shape=(None, 28, 1), dtype="float32")
    given = Given(classifier(inputs=(spec,)), digits(labels=()))
    assert check(recipe(PRUNE), ("tflite",), given, NO_TARGETS).tasks == ()


def test_one_shot_pruning_needs_no_data() -> None:
    assert check(recipe(PRUNE), ("keras",), Given(classifier(), None), NO_TARGETS).needs == ()


@pytest.mark.parametrize("field", ["include", "exclude"])
def test_pattern_that_matches_no_layer_is_refused(field: str) -> None:
    asked = recipe(PRUNE | {field: ["conv_.*", "dens.*"]})

    assert pointers_of(asked, classifier(), None) == [f"/recipe/steps/0/{field}/1"]


def test_recurrent_model_is_refused_for_int8() -> None:
    model = classifier(is_recurrent=True)

    assert pointers_of(recipe(PRUNE, INT8), model, digits()) == ["/recipe/steps/1/technique"]


def test_quantized_model_is_refused() -> None:
    assert pointers_of(recipe(PRUNE), classifier(is_quantized=True), None) == ["/model_id"]


@pytest.mark.parametrize(
    ("conversion", "outputs"),
    [
        (INT8, ("onnx",)),
        (INT8, ("c_array", "keras")),
        ({"technique": "weight_only_quantization", "num_bits": 4}, ("tflite",)),
    ],
)
def test_conversion_takes_any_kind_of_file_that_it_writes(
    conversion: dict[str, Any], outputs: tuple[OutputKind, ...]
) -> None:
    assert check(recipe(conversion), outputs, Given(classifier(), digits()), NO_TARGETS).steps


@pytest.mark.parametrize(
    "conversion",
    [INT8 | {"activation_bits": 16}, {"technique": "weight_only_quantization"}],
)
def test_conversion_is_refused_without_a_kind_of_file_that_it_writes(
    conversion: dict[str, Any],
) -> None:
    assert pointers_of(recipe(conversion), classifier(), digits(), ("onnx",)) == ["/outputs"]


def test_tflite_model_may_become_a_c_array_and_nothing_else() -> None:
    model = classifier(format=ModelFormat.TFLITE)
    outputs: tuple[OutputKind, ...] = ("tflite", "c_array", "onnx")
    assert pointers_of(recipe(INT8), model, digits(), outputs) == ["/outputs/2"]


@pytest.mark.parametrize("technique", sorted(step_types()))
def test_every_step_refuses_a_quantized_model_with_code_and_hint(technique: str) -> None:
    """Whatever its parameters are: it is refused before anything else is looked at."""
    model = classifier(is_quantized=True)
    step = step_types()[technique].model_construct(technique=technique)
    given = Recipe.model_construct(seed=0, steps=(step,))
    with pytest.raises(QuantizedModel) as refused:
        check(given, ("tflite",), Given(model, digits()), NO_TARGETS)
    assert (refused.value.code, refused.value.hint) == (
        "quantized_model",
        "Upload the float model that it was made from.",
    )


def test_transform_of_a_tflite_model_is_refused() -> None:
    model = classifier(format=ModelFormat.TFLITE)

    assert pointers_of(recipe(PRUNE), model, None, ("tflite",)) == ["/recipe/steps/0"]


def test_keras_output_of_a_tflite_model_is_refused() -> None:
    model = classifier(format=ModelFormat.TFLITE)

    assert pointers_of(recipe(INT8), model, digits()) == ["/outputs/0"]


def test_rows_of_another_shape_are_refused() -> None:
    wide = digits(
        inputs=(InputArray(name=None, shape=(32, 32), dtype="uint8", minimum=0, maximum=9),)
    )

    assert pointers_of(recipe(INT8), classifier(), wide) == ["/dataset_id"]


def test_input_names_must_agree_when_there_are_several() -> None:
    two = classifier(
        inputs=(
            TensorSpec(name="left", shape=(2,), dtype="float32"),
            TensorSpec(name="right", shape=(2,), dtype="float32"),
        )
    )

    with pytest.raises(ImpossibleRecipe, match="left, right"):
        check(recipe(INT8), ("tflite",), Given(two, digits()), NO_TARGETS)


def test_end_step_after_the_training_is_refused() -> None:
    gradual = PRUNE | {"schedule": "polynomial", "end_step": 1000, "recovery": {"epochs": 1}}

    assert pointers_of(recipe(gradual), classifier(), digits()) == ["/recipe/steps/0/end_step"]


def test_loss_that_does_not_fit_the_head_is_refused() -> None:
    tuning = {"technique": "fine_tuning", "loss": "binary_crossentropy"}

    assert pointers_of(recipe(tuning), classifier(), digits()) == ["/recipe/steps/0/loss"]


def test_accuracy_constraint_needs_labels() -> None:
    target = Constraints.model_validate({"max_accuracy_drop": 0.01})

    assert pointers_of(recipe(PRUNE), classifier(), None, constraints=target) == [
        "/constraints/max_accuracy_drop"
    ]


def test_every_complaint_is_told_at_once() -> None:
    asked = recipe(INT8, PRUNE | {"include": ["nowhere"]})

    assert pointers_of(asked, classifier(), None) == [
        "/recipe/steps/0",
        "/dataset_id",
        "/recipe/steps/1/include/0",
    ]


class Whim(Transform):
    """A technique that nothing but its own file knows."""

    def training(self) -> Recovery:
        return Recovery(epochs=1, batch_size=100, validation_fraction=0.1)

    def complaints(self, given: Given) -> Iterator[Complaint]:
        if given.model.is_recurrent:
            yield Complaint(pointer="/mood", detail="not today")

    def skips(self, model: ModelFacts) -> Iterator[Skip]:
        yield Skip(model.layers[0].name, "too fine")

    def warnings(self, dataset: DatasetFacts | None) -> Iterator[str]:
        yield "It may change its mind."


WHIM = Recipe.model_construct(seed=0, steps=(Whim(technique="whim"),))


def test_plan_asks_each_step_what_it_trains_skips_and_warns_of() -> None:
    plan = check(WHIM, ("keras",), Given(classifier(), digits()), NO_TARGETS)

    assert plan.needs == ("labels", "training_data")
    assert plan.optimizer_steps == 9
    assert plan.skipped == (PlannedSkip(step=0, what="conv_1", reason="too fine"),)
    assert "It may change its mind." in plan.warnings


def test_complaint_of_a_step_leads_into_the_recipe() -> None:
    recurrent = classifier(is_recurrent=True)

    assert pointers_of(WHIM, recurrent, digits(), ("keras",)) == ["/recipe/steps/0/mood"]


def saved_model(**changes: Any) -> ModelFacts:
    return classifier(format=ModelFormat.SAVED_MODEL, class_name="SavedModel", **changes)


def test_saved_model_may_be_converted_and_offered_back() -> None:
    outputs: tuple[OutputKind, ...] = ("tflite", "c_array", "saved_model")
    plan = check(recipe(INT8), outputs, Given(saved_model(), digits()), NO_TARGETS)
    assert [step.technique for step in plan.steps] == ["full_integer_quantization"]


def test_step_or_output_that_needs_layers_of_a_saved_model_says_what_to_do() -> None:
    with pytest.raises(ImpossibleRecipe) as raised:
        check(
            recipe(PRUNE), ("tflite", "keras", "onnx"), Given(saved_model(), digits()), NO_TARGETS
        )
    assert [complaint.pointer for complaint in raised.value.errors] == [
        "/recipe/steps/0",
        "/outputs/1",
        "/outputs/2",
    ]
    assert all("Save the model as .keras" in one.detail for one in raised.value.errors)


def test_layers_of_a_saved_model_cannot_be_left_out() -> None:
    pointers = pointers_of(
        recipe({**INT8, "exclude": ["logits"]}), saved_model(), digits(), ("tflite",)
    )
    assert pointers == ["/recipe/steps/0/exclude"]


def test_saved_model_that_reads_text_is_refused_before_a_job_begins() -> None:
    model = saved_model(inputs=(TensorSpec(name="word", shape=(1,), dtype="string"),))
    step = {"technique": "float16_quantization"}
    assert pointers_of(recipe(step), model, None, ("tflite",)) == ["/model_id"]


@pytest.mark.parametrize("format", [ModelFormat.KERAS, ModelFormat.H5, ModelFormat.TFLITE])
@pytest.mark.parametrize("dtype", ["string", "resource", "int4", "float8_e5m2"])
def test_model_that_reads_no_numbers_is_refused_with_what_to_do(
    format: ModelFormat, dtype: str
) -> None:
    words = (TensorSpec(name="word", shape=(1,), dtype=dtype),)
    step = {"technique": "float16_quantization"}
    given = Given(classifier(inputs=words, format=format), None)
    with pytest.raises(ImpossibleRecipe, match=f"'word' takes values of type {dtype}") as refused:
        check(recipe(step), ("tflite",), given, NO_TARGETS)
    assert [one.pointer for one in refused.value.errors] == ["/model_id"]
    assert "Let the model begin behind them" in str(refused.value.hint)


@pytest.mark.parametrize("dtype", ["bool", "bfloat16", "uint8", "int64", "uint64", "complex64"])
def test_model_may_read_numbers_of_any_type(dtype: str) -> None:
    numbers = (TensorSpec(name="x", shape=(1,), dtype=dtype),)
    plan = check(recipe(PRUNE), ("keras",), Given(classifier(inputs=numbers), None), NO_TARGETS)
    assert [step.technique for step in plan.steps] == ["magnitude_pruning"]


def test_open_length_without_data_says_what_to_do() -> None:
    spec = TensorSpec(name="image", shape=(None, 28, 1), dtype="float32")
    given = Given(classifier(inputs=(spec,)), None)
    with pytest.raises(ImpossibleRecipe, match="fixed lengths") as refused:
        check(recipe(PRUNE), ("tflite", "c_array", "keras"), given, NO_TARGETS)
    assert refused.value.hint == (
        "Give a dataset_id, save the model with fixed input shapes, or ask for outputs without "
        "c_array and tflite."
    )
    assert all("hint" not in one.model_dump() for one in refused.value.errors)


def test_patterns_are_refused_before_they_are_matched_when_they_are_too_long_for_the_model() -> (
    None
):
    layers = tuple(
        LayerSpec(name="a" * 60 + str(n), class_name="Dense", parameter_count=1)
        for n in range(5_000)
    )
    given = Given(model=classifier(layers=layers), dataset=None)
    step = {**PRUNE, "include": [f"(.?){{150}}{n}" for n in range(64)]}
    started = time.process_time()
    with pytest.raises(ImpossibleRecipe, match="too long for the 5000 layers") as refused:
        check(Recipe.model_validate({"steps": [step]}), ("keras",), given, NO_TARGETS)
    assert [one.pointer for one in refused.value.errors] == ["/recipe/steps/0"]
    assert time.process_time() - started < 0.5
