"""What the inspector says of a data set as it will be read, scaled."""

import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from app.errors import RejectedUpload
from app.recipes.facts import DatasetOptions
from app.uploads.inspector.protocol import Inspection, InspectionOrder
from app.uploads.inspector.read import HINTS, read
from tests.keras_archives import archive

FILES = Path(__file__).parent / "files"


def inspected(images: Any, **options: float) -> Inspection:
    file = io.BytesIO()
    np.savez(file, x=images, y=np.arange(len(images)) % 2)
    order = InspectionOrder.model_validate({"format": "npz", "options": options})
    return read(order, file)


def test_scale_that_leads_out_of_float32_is_refused() -> None:
    with pytest.raises(RejectedUpload, match="too large for float32"):
        inspected(np.ones((40, 2), np.float32) * 1e30, scale=1e20)


def model(name: str, content: bytes) -> Inspection:
    order = InspectionOrder.model_validate({"format": name, "options": {}})
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.seek(0)
        return read(order, file)


@pytest.mark.parametrize(("name", "is_noted"), [("int8", True), ("float32", False)])
def test_model_that_no_recipe_takes_is_noted(name: str, *, is_noted: bool) -> None:
    facts = model("tflite", (FILES / f"{name}.tflite").read_bytes()).model
    assert facts is not None
    assert any("no recipe takes it" in note for note in facts.notes) is is_noted


@pytest.mark.parametrize(
    ("config", "told", "hint"),
    [
        ("{}", "names no model", "Save the whole model"),
        ("[]", "config.json is not a JSON object", "Save the model again"),
        ('{"a": 1' + "0" * 5000 + "}", "a number of too many digits", "Save the model again"),
        ("[" * 200_000, "nested too deeply", "Save the model again"),
    ],
)
def test_every_refusal_of_a_model_says_what_to_do(config: str, told: str, hint: str) -> None:
    with pytest.raises(RejectedUpload, match=told) as caught:
        model("keras", archive(config, {}).getvalue())
    assert (caught.value.hint or "").startswith(hint)


def test_damaged_tflite_file_says_what_to_do() -> None:
    content = (FILES / "int8.tflite").read_bytes()
    with pytest.raises(RejectedUpload) as caught:
        model("tflite", content[:64])
    assert caught.value.hint == HINTS["tflite"]


def test_arrays_of_other_names_are_named() -> None:
    file = io.BytesIO()
    np.savez(file, np.ones((4, 2)), np.ones(4))
    order = InspectionOrder.model_validate({"format": "npz", "options": {}})
    with pytest.raises(RejectedUpload, match="no array x; it has 'arr_0', 'arr_1'"):
        read(order, file)


def test_scale_of_zero_is_refused() -> None:
    with pytest.raises(ValidationError, match="scale of 0"):
        DatasetOptions.model_validate({"scale": 0})


@pytest.mark.parametrize(("scale", "is_noted"), [(1.0, True), (1 / 255, False)])
def test_pixels_without_a_scale_are_noted(scale: float, is_noted: bool) -> None:
    pixels = np.full((40, 4), 200, np.uint8)

    facts = inspected(pixels, scale=scale).dataset

    assert facts is not None
    assert any("no scale was given" in note for note in facts.notes) is is_noted
