"""`penjing unpack` in a process of its own, and that process."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.cli.main import penjing
from app.cli.unpacking import memory_for, seconds_for
from app.confinement import BoxOrder, Confinement, boxed, libraries
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


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "crashed (SIGSEGV)"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "run out of memory"),
        ("raise SystemExit(3)", "status 3"),
        ("import time; time.sleep(60)", "longer than 1 s"),
    ],
)
def test_unpack_tells_how_its_process_ended(
    code: str,
    said: str,
    files: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.cli.unpacking_process.PROGRAM", (sys.executable, "-c", code))
    monkeypatch.setattr("app.cli.unpacking.seconds_for", lambda source: 1 if "60" in code else 30)
    result = unpack(files[0], "-o", tmp_path / "out.keras", "--json")
    problem = json.loads(result.stdout)["problem"]
    assert said in f"{problem['detail']} {problem['hint']}"
    assert ("memory" in problem["hint"]) == ("SIGKILL" in code)


def test_unpack_runs_what_it_starts_in_the_box(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = tmp_path / "canary"
    canary.write_text("secret")
    code = f"import os; os.environ['PENJING_BOX']; open({str(canary)!r})"
    monkeypatch.setattr("app.cli.unpacking_process.PROGRAM", (sys.executable, "-c", code))
    result = unpack(files[0], "-o", tmp_path / "out.keras")
    assert result.exit_code == 2
    assert "status 1" in result.stderr
    monkeypatch.setattr("app.cli.unpacking_process.PROGRAM", (sys.executable, "-c", "print('{}')"))
    monkeypatch.setattr("app.cli.unpacking_process.command", without_landlock)
    result = unpack(files[0], "-o", tmp_path / "out.keras")
    assert "Note: this machine cannot confine" in result.stderr


def without_landlock(
    confinement: Confinement, program: Sequence[str], parent_pid: int
) -> list[str]:
    return boxed(BoxOrder(confinement, parent_pid, libraries(), newest_abi=0), program)


def test_unpack_takes_no_link_for_what_was_made(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = f"import os, sys; os.symlink({str(files[1])!r}, sys.argv[2]); print('{{}}')"
    monkeypatch.setattr("app.cli.unpacking_process.PROGRAM", (sys.executable, "-c", code))
    monkeypatch.setattr("app.cli.unpacking_process.command", lambda _, program, __: program)
    result = unpack(files[0], "-o", tmp_path / "out.keras")
    assert result.exit_code == 2
    assert "no plain file" in result.stderr
    assert not any(tmp_path.iterdir())


def test_small_files_get_little_memory_and_time(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(1000))
    assert (memory_for(file), seconds_for(file)) == (4 << 30, 180)
    file.write_bytes(bytes(5_000_000))
    assert (memory_for(file), seconds_for(file)) == (5_120_000_000, 1400)


def test_unpack_needs_the_engine(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.cli.unpacking.NEEDED", ("keras", "no_such_package"))
    result = unpack(files[0], "--json")
    assert json.loads(result.stdout)["problem"]["code"] == "engine_missing"
