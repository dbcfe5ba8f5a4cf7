"""What may be asked of the coding of gradients, and of processes that exchange them."""

from typing import Any

import pytest
from pydantic import ValidationError

from app.recipes.gradients import GradientQuantization
from app.recipes.recipe import Recipe
from app.recipes.steps import Step
from app.recipes.steps.recovery import Recovery
from app.recipes.training import training_warnings


def coding(**given: Any) -> GradientQuantization:
    return GradientQuantization.model_validate(given)


def step(technique: str, **parameters: Any) -> Step:
    return Recipe.model_validate({"steps": [{"technique": technique, **parameters}]}).steps[0]


@pytest.mark.parametrize(("rounding", "bits"), [("sign", 1), ("ternary", 2), ("nearest", 8)])
def test_bits_follow_from_the_rounding(rounding: str, bits: int) -> None:
    assert coding(rounding=rounding).num_bits == bits


def test_top_k_sends_a_hundredth_unless_told_otherwise() -> None:
    assert coding(rounding="top_k").top_k_share == 0.01
    assert coding(rounding="top_k", top_k_share=0.1).top_k_share == 0.1


def test_what_is_stored_is_read_again() -> None:
    for rounding in ("nearest", "stochastic", "sign", "ternary", "top_k"):
        asked = coding(rounding=rounding)
        assert GradientQuantization.model_validate_json(asked.model_dump_json()) == asked


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"num_bits": 0}, "greater than or equal to 1"),
        ({"num_bits": 9}, "less than or equal to 8"),
        ({"rounding": "sign", "num_bits": 4}, "no effect on sign, which has 1"),
        ({"rounding": "ternary", "num_bits": 3}, "no effect on ternary, which has 2"),
        ({"top_k_share": 0.1}, "no effect on nearest"),
        ({"rounding": "top_k", "top_k_share": 1.0}, "less than 1"),
        ({"rounding": "top_k", "granularity": "per_channel"}, "no effect on top_k"),
        ({"rounding": "sign", "scale": "largest"}, "no effect on sign"),
        ({"workers": 9}, "less than or equal to 8"),
        ({"bits": 4}, "Extra inputs"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        coding(**given)


def test_a_batch_has_a_row_for_each_worker() -> None:
    with pytest.raises(ValidationError, match="only 3 rows to divide"):
        Recovery.model_validate({"batch_size": 3, "gradient_quantization": {"workers": 4}})


def test_workers_do_not_scale_their_losses() -> None:
    with pytest.raises(ValidationError, match="mixed_float16 do not go together"):
        Recovery.model_validate({"dtype": "mixed_float16", "gradient_quantization": {"workers": 2}})


def test_a_comparison_with_float32_is_a_run_of_its_own() -> None:
    asked = {"gradient_quantization": {"num_bits": 4}}
    alone = {"gradient_quantization": {"num_bits": 4, "compare_with_float32": False}}

    assert step("fine_tuning").training_runs() == 1
    assert step("fine_tuning", **asked).training_runs() == 2
    assert step("fine_tuning", **alone).training_runs() == 1
    compared = step("initialization", scheme="he_normal", compare=["zeros"], recovery=asked)
    assert compared.training_runs() == 4
    assert step("initialization", scheme="he_normal").training_runs() == 0


@pytest.mark.parametrize(
    ("optimizer", "bits", "is_warned"), [("adam", 2, True), ("adam", 4, False), ("sgd", 2, False)]
)
def test_few_bits_and_adaptive_optimizers_are_warned_of(
    optimizer: str, bits: int, is_warned: bool
) -> None:
    training = {"optimizer": optimizer, "gradient_quantization": {"num_bits": bits}}
    recipe = Recipe.model_validate({"steps": [{"technique": "fine_tuning", **training}]})

    assert bool(list(training_warnings(recipe, ()))) == is_warned


@pytest.mark.parametrize(
    ("technique", "parameters", "said"),
    [
        ("distillation", {}, "what teachers say"),
        (
            "magnitude_pruning",
            {"sparsity": 0.5, "schedule": "polynomial"},
            "masks of schedule polynomial",
        ),
        ("fine_tuning", {"distill": True}, "what teachers say"),
    ],
)
def test_a_training_that_is_more_than_steps_says_why_it_keeps_to_one_process(
    technique: str, parameters: dict[str, Any], said: str
) -> None:
    assert said in (step(technique, **parameters).replica_obstacle() or "")


@pytest.mark.parametrize(
    ("technique", "parameters"),
    [
        ("fine_tuning", {}),
        ("magnitude_pruning", {"sparsity": 0.5, "recovery": {}}),
        ("channel_pruning", {"pruning_ratio": 0.5, "recovery": {}}),
        ("layer_removal", {"count": 1, "recovery": {}}),
    ],
)
def test_plain_steps_can_be_shared(technique: str, parameters: dict[str, Any]) -> None:
    assert step(technique, **parameters).replica_obstacle() is None
