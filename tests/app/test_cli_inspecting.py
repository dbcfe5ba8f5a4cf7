"""What `penjing inspect` says of a model."""

import pytest

from app.cli.inspecting import _model_rows
from app.recipes.facts import ModelFacts, ModelFormat


@pytest.mark.parametrize("is_quantized", [True, False])
def test_a_quantized_model_is_called_one(is_quantized: bool) -> None:
    facts = ModelFacts(
        format=ModelFormat.KERAS,
        class_name="Sequential",
        inputs=(),
        outputs=(),
        heads=(),
        layers=(),
        layer_count=0,
        parameter_count=15,
        is_recurrent=False,
        is_quantized=is_quantized,
        keras_version=None,
    )

    said = dict(_model_rows(facts)).get("quantized")

    assert (said is not None and said.startswith("yes")) == is_quantized
