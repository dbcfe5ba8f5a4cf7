"""Long archives, told by their first names."""

import io
from pathlib import Path

import pytest

from app.errors import RejectedUpload
from app.uploads.archive import MAX_ENTRIES
from app.uploads.formats import UploadKind, recognize
from app.uploads.many_pictures import has_many_pictures
from tests.app.datafiles.drawn import archive


def many(name: str, count: int = MAX_ENTRIES + 1) -> bytes:
    return archive({name.format(number): b"x" for number in range(count)})


def test_has_many_pictures_looks_at_long_archives_alone() -> None:
    assert has_many_pictures(io.BytesIO(many("a/{}.png")))
    assert not has_many_pictures(io.BytesIO(many("a/{}.png", MAX_ENTRIES)))
    assert not has_many_pictures(io.BytesIO(many("a/{}.npy")))
    assert not has_many_pictures(io.BytesIO(many("__MACOSX/{}.png")))


def test_has_many_pictures_refuses_what_has_no_end() -> None:
    with pytest.raises(RejectedUpload):
        has_many_pictures(io.BytesIO(many("a/{}.png")[:-30]))


def test_recognize_takes_many_pictures_for_data_and_many_files_for_nothing(tmp_path: Path) -> None:
    path = tmp_path / "upload.zip"
    path.write_bytes(many("a/{}.png"))
    assert recognize(path, UploadKind.DATASET, path.name) == "images"
    with pytest.raises(RejectedUpload, match="lists more than 1000 files"):
        recognize(path, UploadKind.MODEL, path.name)
    path.write_bytes(many("a/{}.npy"))
    with pytest.raises(RejectedUpload, match="lists more than 1000 files"):
        recognize(path, UploadKind.DATASET, path.name)
