"""Where compiled code is kept: beside its source, or in a copy that this process has alone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.engine.coding import kept


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "coder.py").write_text("def code(): ...")
    monkeypatch.setattr(kept, "FOLDER", tmp_path)
    kept.folder.cache_clear()
    yield tmp_path
    kept.folder.cache_clear()


def test_code_is_kept_beside_its_source(sources: Path) -> None:
    found = kept.folder()
    assert found is not None
    assert found.parent == sources / "__pycache__"


def test_code_kept_elsewhere_is_copied_where_its_folder_cannot_be_written(
    sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = kept.folder()
    assert found is not None
    found.mkdir(parents=True)
    (found / "index").write_bytes(b"compiled")
    kept.folder.cache_clear()
    monkeypatch.setattr(kept, "can_be_written", lambda _: False)
    copy = kept.folder()
    assert copy is not None
    assert sources not in copy.parents
    assert (copy / "index").read_bytes() == b"compiled"


def test_code_is_compiled_anew_where_none_is_kept(
    sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "can_be_written", lambda _: False)
    assert kept.folder() is None
