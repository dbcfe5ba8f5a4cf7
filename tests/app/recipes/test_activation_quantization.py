"""What may be asked of activation quantization and of calibration."""

from typing import Any

import pytest
from pydantic import ValidationError

from app.recipes.check import ImpossibleRecipe, check
from app.recipes.constraints import Constraints
from app.recipes.facts import LayerSpec, ModelFacts, ModelFormat, TensorSpec
from app.recipes.recipe import Recipe
from app.recipes.steps.activation_quantization import ActivationQuantization
from app.recipes.steps.base import Given, Need
from app.recipes.steps.full_integer_quantization import FullIntegerQuantization
from app.recipes.steps.quantization_aware_training import QuantizationAwareTraining


def facts(*, layer: str = "BatchNormalization", dtype: str = "float32", **other: Any) -> ModelFacts:
    given: dict[str, Any] = {
        "format": ModelFormat.KERAS,
        "class_name": "Functional",
        "inputs": (TensorSpec(name="x", shape=(4,), dtype=dtype),),
        "outputs": (),
        "heads": (),
        "layers": (LayerSpec(name="one", class_name=layer, parameter_count=4),),
        "layer_count": 1,
        "parameter_count": 4,
        "is_recurrent": False,
        "is_quantized": False,
        "keras_version": None,
    }
    return ModelFacts(**{**given, **other})


def complaints(step: Any, model: ModelFacts) -> list[tuple[str, str]]:
    found = step.complaints(Given(model=model, dataset=None))
    return [(complaint.pointer, complaint.detail) for complaint in found]


@pytest.mark.parametrize("mapping", ["linear", "mu_law"])
def test_even_spacing_and_mu_law_take_up_to_sixteen_bits(mapping: str) -> None:
    step = {"technique": "activation_quantization", "mapping": mapping, "num_bits": 16}

    assert Recipe.model_validate({"steps": [step]}).steps[0].model_dump()["num_bits"] == 16


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"num_bits": 3}, "greater than or equal to 4"),
        ({"num_bits": 17}, "less than or equal to 16"),
        ({"mapping": "codebook", "num_bits": 9}, "from 4 to 8"),
        ({"mapping": "power_of_two", "num_bits": 16}, "from 4 to 8"),
        ({"mu": 100.0}, "mu has no effect"),
        ({"percentile": 99.0}, "percentile has no effect"),
        ({"mapping": "cubic"}, "linear"),
        ({"calibration": "guess"}, "entropy"),
    ],
)
def test_what_cannot_be_is_refused(parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ActivationQuantization(**parameters)


@pytest.mark.parametrize(
    ("kind", "name", "bits"),
    [
        (ActivationQuantization, "num_bits", 10),
        (ActivationQuantization, "num_bits", 16),
        (FullIntegerQuantization, "activation_bits", 16),
    ],
)
def test_entropy_of_many_bits_is_refused(kind: Any, name: str, bits: int) -> None:
    with pytest.raises(ValidationError, match=f"{name} up to 9; given {bits}"):
        kind(calibration="entropy", **{name: bits})

    assert kind(calibration="mse", **{name: bits}).calibration == "mse"


@pytest.mark.parametrize("kind", [ActivationQuantization, FullIntegerQuantization])
def test_calibration_needs_data_unless_it_makes_it_up(kind: Any) -> None:
    assert kind().all_needs() == {Need.CALIBRATION_DATA}
    assert kind(calibration_data="synthetic").all_needs() == set()


@pytest.mark.parametrize("kind", [ActivationQuantization, FullIntegerQuantization])
def test_recurrent_models_are_refused(kind: Any) -> None:
    ((pointer, detail),) = complaints(kind(), facts(is_recurrent=True))

    assert pointer == "/technique"
    assert "dynamic_range_quantization" in detail


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (facts(layer="Dense"), "BatchNormalization"),
        (facts(dtype="int32"), "real numbers"),
        (
            facts(inputs=(TensorSpec(name="x", shape=(None, 4), dtype="float32"),)),
            "leaves a length open",
        ),
    ],
)
def test_synthetic_inputs_are_refused_where_none_can_be_made(model: ModelFacts, words: str) -> None:
    ((pointer, detail),) = complaints(ActivationQuantization(calibration_data="synthetic"), model)

    assert pointer == "/calibration_data"
    assert words in detail


def test_synthetic_inputs_fit_the_uploaded_model_whatever_was_folded_since() -> None:
    given = Given(model=facts(layer="Dense"), dataset=None, uploaded=facts())
    step = FullIntegerQuantization(calibration_data="synthetic")

    assert list(step.complaints(given)) == []


def test_full_integer_takes_every_calibration_but_no_idle_percentile() -> None:
    for method in ("min_max", "moving_average", "percentile", "mse", "entropy"):
        FullIntegerQuantization(calibration=method)
    with pytest.raises(ValidationError, match="no effect"):
        FullIntegerQuantization(percentile=99.0)


def test_what_no_runtime_executes_is_said_at_validation() -> None:
    simulated = ActivationQuantization(num_bits=4, mapping="codebook").warnings(None)

    assert any("No runtime executes 4-bit codebook" in warning for warning in simulated)
    assert list(ActivationQuantization(num_bits=8).warnings(None)) == []


def test_calibration_behind_a_step_that_gives_ranges_is_told_to_be_idle() -> None:
    given = ActivationQuantization().given_after(Given(model=facts(), dataset=None))

    (warning,) = FullIntegerQuantization(calibration="mse").warnings_of_ranges(given)

    assert "ranges of activation_quantization" in warning
    assert "(calibration)" in warning
    assert list(FullIntegerQuantization().warnings_of_ranges(given)) == []
    wide = FullIntegerQuantization(calibration="mse", activation_bits=16)
    assert list(wide.warnings_of_ranges(given)) == []


@pytest.mark.parametrize("num_bits", [9, 15, 16])
def test_ranges_that_no_tflite_file_holds_are_told_of(num_bits: int) -> None:
    (warning,) = ActivationQuantization(num_bits=num_bits).warnings(None)

    assert "tflite file" in warning


def check_of(*steps: dict[str, Any]) -> list[tuple[str, str]]:
    recipe = Recipe.model_validate({"steps": list(steps)})
    model = facts(inputs=(TensorSpec(name="x", shape=(4,), dtype="float32"),))
    try:
        check(recipe, ("keras", "tflite"), Given(model=model, dataset=None), Constraints())
    except ImpossibleRecipe as refused:
        return [(complaint.pointer, complaint.detail) for complaint in refused.errors]
    return []


ROUNDED = {"technique": "activation_quantization", "calibration_data": "synthetic"}
CODEBOOK = {**ROUNDED, "mapping": "codebook"}
INTEGERS = {"technique": "full_integer_quantization", "calibration_data": "synthetic"}


def test_ranges_are_read_after_the_structure_is_settled() -> None:
    ((pointer, detail),) = check_of(ROUNDED, {"technique": "batch_norm_folding"})

    assert pointer == "/recipe/steps/1"
    assert "put batch_norm_folding before activation_quantization" in detail
    assert check_of({"technique": "batch_norm_folding"}, ROUNDED) == []


def test_ranges_that_were_trained_are_ranges_too() -> None:
    trained = QuantizationAwareTraining()

    assert trained.given_after(Given(model=facts(), dataset=None)).rounded_by == trained.technique
    after_a_codebook = Given(model=facts(), dataset=None, rounding="codebook")
    assert [found.pointer for found in trained.complaints(after_a_codebook)] == ["/technique"]


def test_integers_cannot_follow_a_codebook() -> None:
    ((pointer, detail),) = check_of(CODEBOOK, INTEGERS)

    assert pointer == "/recipe/steps/1/technique"
    assert "codebook" in detail
    assert check_of(ROUNDED, INTEGERS) == []


def test_nothing_is_rounded_twice_over_a_codebook() -> None:
    assert [pointer for pointer, _ in check_of(CODEBOOK, ROUNDED)] == ["/recipe/steps/1/technique"]
    assert check_of(ROUNDED, {**ROUNDED, "num_bits": 4}) == []
