"""What may be asked of entropy-penalized training."""

from typing import Any

import pytest
from pydantic import ValidationError

from app.recipes.facts import LayerSpec
from app.recipes.steps.entropy_penalized_training import EntropyPenalizedTraining
from tests.app.recipes.test_check import classifier, digits


def asked(**parameters: Any) -> EntropyPenalizedTraining:
    return EntropyPenalizedTraining.model_validate(parameters)


@pytest.mark.parametrize(
    "parameters",
    [
        {"rate_weight": 0},
        {"rate_weight": float("nan")},
        {"initial_step": 0},
        {"smallest_step": -0.01},
        {"include": ["("]},
    ],
)
def test_step_refuses_what_is_out_of_range(parameters: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        asked(**parameters)


def test_step_refuses_to_stop_early() -> None:
    with pytest.raises(ValidationError, match="before the model is small"):
        asked(early_stopping_patience=3)


def test_step_learns_from_the_uploaded_model_unless_told_otherwise() -> None:
    assert asked().leaves_teacher_open()
    assert asked().with_models("mdl_teacher", None).teacher_model_ids == ("mdl_teacher",)
    assert not asked(distill=False).leaves_teacher_open()


def test_step_refuses_a_temperature_without_teachers() -> None:
    with pytest.raises(ValidationError, match="temperature has no effect"):
        asked(distill=False, temperature=4.0)


def test_step_names_the_normalizations_it_leaves() -> None:
    norm = LayerSpec(name="norm", class_name="BatchNormalization", parameter_count=8)

    skips = list(asked(exclude=["conv_1"]).skips(classifier(layers=(norm,))))

    assert [skip.what for skip in skips] == ["norm"]
    assert "batch_norm_folding" in skips[0].reason


def test_step_warns_of_few_optimizer_steps() -> None:
    """900 of 1,000 rows in batches of 128 are 8 steps an epoch."""
    (warning,) = asked(epochs=10).warnings(digits())

    assert "only 80 optimizer steps" in warning
    assert list(asked(epochs=125).warnings(digits())) == []
