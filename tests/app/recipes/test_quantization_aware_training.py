"""What quantization-aware training refuses before anything runs."""

import pytest
from pydantic import ValidationError

from app.recipes.steps.base import Given
from app.recipes.steps.quantization_aware_training import QuantizationAwareTraining
from tests.app.api.given import MODEL


@pytest.mark.parametrize("bits", [{"weight_bits": 1}, {"weight_bits": 16}, {"activation_bits": 4}])
def test_bits_that_no_file_holds_are_refused(bits: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        QuantizationAwareTraining.model_validate(bits)


def test_recurrent_models_are_refused() -> None:
    given = Given(MODEL.model_copy(update={"is_recurrent": True}), None)

    (complaint,) = QuantizationAwareTraining().complaints(given)

    assert complaint.pointer == "/technique"
