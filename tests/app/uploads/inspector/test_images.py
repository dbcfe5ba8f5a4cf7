"""Data sets of pictures in a folder for each class."""

import io
from typing import Any

import numpy as np
import pytest

from app.errors import RejectedUpload
from app.recipes.facts import DatasetFacts, DatasetOptions
from app.recipes.fit import fitted_shape
from app.uploads.inspector import images
from app.uploads.inspector.images import read_images
from tests.app.datafiles.drawn import HEIGHT, WIDTH, archive, encoded, folder, pixels


def read(members: dict[str, bytes], **options: Any) -> DatasetFacts:
    return read_images(io.BytesIO(archive(members)), DatasetOptions.model_validate(options))


def test_read_images_says_what_the_archive_holds() -> None:
    facts = read(folder(20), test_fraction=0.25)
    assert (facts.train_rows, facts.test_rows, facts.is_split_here) == (15, 5, True)
    (values,), (labels,) = facts.inputs, facts.labels
    assert (values.name, values.shape, values.dtype) == (None, (HEIGHT, WIDTH), "uint8")
    drawn = np.stack([pixels(number) for number in range(20)])
    assert (values.minimum, values.maximum) == (float(drawn.min()), float(drawn.max()))
    assert (labels.classes, labels.class_count) == (("cat", "dog"), 2)
    assert (labels.encoding, labels.shape, labels.dtype) == ("integer", (), "int64")
    assert (labels.minimum, labels.maximum) == (0, 1)
    assert facts.notes == ("5 of 20 rows are set aside for testing",)


def test_read_images_takes_train_and_test_as_given() -> None:
    parts = {
        f"{part}/{name}": each for part in ("train", "test") for name, each in folder(12).items()
    }
    facts = read({**parts, "train/.DS_Store": b"?"})
    assert (facts.train_rows, facts.test_rows, facts.is_split_here) == (12, 12, False)
    assert facts.notes == ("1 hidden files were passed over",)


def test_gray_pictures_fit_models_with_and_without_a_channel_axis() -> None:
    gray, color = read(folder(20)).inputs[0].shape, read(folder(20, channels=3)).inputs[0].shape
    assert fitted_shape(gray, (HEIGHT, WIDTH)) == (HEIGHT, WIDTH)
    assert fitted_shape(gray, (HEIGHT, WIDTH, 1)) == (HEIGHT, WIDTH, 1)
    assert fitted_shape(color, (None, None, 3)) == (HEIGHT, WIDTH, 3)
    assert fitted_shape(gray, (HEIGHT, WIDTH, 3)) is None


def test_read_images_decodes_a_share_of_many_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "DECODED_BYTES", 7 * HEIGHT * WIDTH)
    facts = read(folder(20))
    assert facts.notes[1] == "7 of 20 pictures were decoded to look at them"
    # In the order of their rows: ten cats, then ten dogs.
    rows = [*range(0, 20, 2), *range(1, 20, 2)]
    assert facts.inputs[0].maximum == np.max([pixels(number) for number in rows[::3]])


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"cat/x.png": encoded(pixels(1)[1:])}, "'cat/x.png' has 4 x 4 pixels, 'cat/000.png' has"),
        ({"cat/x.png": encoded(pixels(1))[:-20]}, "'cat/x.png' is damaged or cut off"),
        ({"cat/x.txt": b"x"}, "'cat/x.txt' is not named as a picture"),
        ({"../x.png": encoded(pixels(1))}, "unsafe name"),
        ({"cat/000.PNG": encoded(pixels(1))}, "'cat/000.PNG' twice"),
    ],
)
def test_read_images_refuses(more: dict[str, bytes], why: str) -> None:
    with pytest.raises(RejectedUpload, match=why):
        read({**folder(20), **more})


def test_read_images_refuses_too_few_rows() -> None:
    with pytest.raises(RejectedUpload, match="8 rows would be trained on and 2 tested"):
        read(folder(10))
