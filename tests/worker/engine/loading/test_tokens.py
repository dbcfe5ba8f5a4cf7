"""Numbers of words: those that the model has no row for are refused before anything computes."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from app.errors import DataNotUsable
from tests.builders import embedding_model, write_npz
from worker.engine.order import DatasetFile, Order
from worker.engine.subject import Subject, understand


def understood(model: Any, data: DatasetFile, folder: Path) -> Subject:
    path = folder / "model.keras"
    model.save(path)
    file = {"path": path, "format": "keras", "name": "model.keras", "sha256": "0" * 64}
    order = {
        "job_id": "job_1",
        "model": file,
        "dataset": data,
        "recipe": {"steps": [{"technique": "float16_quantization"}]},
        "outputs": ("tflite",),
        "constraints": {},
        "control": False,
    }
    return understand(Order.model_validate(order), data.path.parent)


def data_with(number: float, folder: Path, **options: Any) -> DatasetFile:
    """8 rows of words to train on, 4 to test on; one number in a row of the test rows."""
    ids = np.tile(np.arange(15, 20), (12, 1)).astype(type(number))
    ids[10, 3] = number
    arrays = {"x_train": ids[:8], "x_test": ids[8:]}
    labels = np.arange(12) % 3
    return write_npz(
        folder / "d.npz", {**arrays, "y_train": labels[:8], "y_test": labels[8:]}, **options
    )


@pytest.mark.parametrize("number", [20, -1, 1000])
def test_numbers_that_an_embedding_has_no_row_for_are_refused(number: int, tmp_path: Path) -> None:
    with pytest.raises(DataNotUsable) as refused:
        understood(embedding_model(), data_with(number, tmp_path), tmp_path)

    assert refused.value.detail == (
        "input 'ids' goes into layer 'words', an Embedding of 20 rows, numbered 0 to 19; the data "
        f"set holds {number}, first in test row 2"
    )
    assert "input_dim" in (refused.value.hint or "")


def test_numbers_that_it_has_rows_for_are_taken(tmp_path: Path) -> None:
    subject = understood(embedding_model(), data_with(0, tmp_path), tmp_path)

    assert subject.data is not None


def test_floats_are_judged_as_the_model_gets_them(tmp_path: Path) -> None:
    words = keras.Input((5,), name="ids")
    flat = keras.layers.Flatten()(keras.layers.Embedding(20, 2, name="words")(words))
    model = keras.Model(words, keras.layers.Dense(3, activation="softmax")(flat))

    assert understood(model, data_with(19.5, tmp_path), tmp_path).data
    with pytest.raises(DataNotUsable, match="the data set holds 30"):
        understood(model, data_with(19.0, tmp_path, scale=2.0), tmp_path)
