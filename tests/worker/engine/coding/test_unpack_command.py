"""`penjing unpack` in a process of its own, and that process."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.cli.main import penjing
from tests.builders import MODELS
from worker.engine.coding.packing import pack
from worker.engine.exporting.keras_file import write_keras
from worker.engine.progress import never_cancelled


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A packed file, and the `.keras` file that it was made from."""
    folder = tmp_path_factory.mktemp("files")
    plain, packed = folder / "plain.keras", folder / "model.packed"
    write_keras(MODELS["conv"](), plain)
    packed.write_bytes(pack(plain, [], never_cancelled).content)
    return packed, plain


def unpack(*arguments: str | Path) -> Result:
    return CliRunner().invoke(penjing, ["unpack", *map(str, arguments)])


def test_unpack_gives_the_file_back(files: tuple[Path, Path], tmp_path: Path) -> None:
    packed, plain = files
    out = tmp_path / "out.keras"
    result = unpack(packed, "-o", out, "--json")
    assert result.exit_code == 0, result.output
    size_bytes = plain.stat().st_size
    assert json.loads(result.stdout) == {"file": str(out), "size_bytes": size_bytes}
    assert out.read_bytes() == plain.read_bytes()
    assert list(tmp_path.iterdir()) == [out]


def test_unpack_overwrites_nothing_unasked(files: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out.keras"
    out.write_text("mine")
    result = unpack(files[0], "-o", out)
    assert result.exit_code == 2
    assert "is there already" in result.stderr
    assert out.read_text() == "mine"


def test_unpack_says_what_is_wrong_with_a_file(files: tuple[Path, Path], tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.packed"
    content = bytearray(files[0].read_bytes())
    content[20] ^= 1
    damaged.write_bytes(content)
    result = unpack(damaged, "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["problem"]["code"] == "packed_file_damaged"
    assert list(tmp_path.iterdir()) == [damaged]


def test_unpack_needs_the_engine(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.cli.unpacking.NEEDED", ("keras", "no_such_package"))
    result = unpack(files[0], "--json")
    assert json.loads(result.stdout)["problem"]["code"] == "engine_missing"
