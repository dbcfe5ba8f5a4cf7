"""What the inspector says of a data set as it will be read, scaled."""

import io
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from app.errors import RejectedUpload
from app.recipes.facts import DatasetOptions
from app.uploads.inspector.protocol import Inspection, InspectionOrder
from app.uploads.inspector.read import read


def inspected(images: Any, **options: float) -> Inspection:
    file = io.BytesIO()
    np.savez(file, x=images, y=np.arange(len(images)) % 2)
    order = InspectionOrder.model_validate({"format": "npz", "options": options})
    return read(order, file)


def test_scale_that_leads_out_of_float32_is_refused() -> None:
    with pytest.raises(RejectedUpload, match="too large for float32"):
        inspected(np.ones((40, 2), np.float32) * 1e30, scale=1e20)


def test_scale_of_zero_is_refused() -> None:
    with pytest.raises(ValidationError, match="scale of 0"):
        DatasetOptions.model_validate({"scale": 0})


@pytest.mark.parametrize(("scale", "is_noted"), [(1.0, True), (1 / 255, False)])
def test_pixels_without_a_scale_are_noted(scale: float, is_noted: bool) -> None:
    pixels = np.full((40, 4), 200, np.uint8)

    facts = inspected(pixels, scale=scale).dataset

    assert facts is not None
    assert any("no scale was given" in note for note in facts.notes) is is_noted
