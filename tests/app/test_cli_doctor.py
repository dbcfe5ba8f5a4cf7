"""What the doctor finds, and what it says to do."""

import platform
import socket
from pathlib import Path

import pytest

from app.cli import checks
from app.embedded.lock import RunningStack, hold, publish


def cpuinfo(folder: Path, flags: str) -> Path:
    path = folder / "cpuinfo"
    path.write_text(f"processor : 0\nflags : {flags}\n")
    return path


def test_cpu_fails_when_it_has_no_avx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    finding = checks.cpu(cpuinfo(tmp_path, "sse sse2"))
    assert finding.status == "fail"
    assert finding.advice == "TensorFlow needs a CPU with AVX."


def test_cpu_is_told_to_be_fast_at_int8_when_it_has_vnni(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    finding = checks.cpu(cpuinfo(tmp_path, "avx avx512_vnni"))
    assert finding.status == "ok"
    assert "fast int8" in finding.found


@pytest.mark.parametrize(("available_kib", "status"), [(8 * 2**20, "ok"), (2**20, "warn")])
def test_memory_is_a_warning_when_a_job_may_not_fit(
    tmp_path: Path, available_kib: int, status: str
) -> None:
    path = tmp_path / "meminfo"
    path.write_text(f"MemTotal: 1 kB\nMemAvailable: {available_kib} kB\n")
    assert checks.memory(path).status == status


def test_box_is_tried_in_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    finding = checks.box(Path("home"))
    assert finding.status in ("ok", "warn")  # a warning on an older kernel
    assert finding.found.startswith("it holds, with Landlock")
    assert not any(Path("home").iterdir())


@pytest.mark.parametrize(
    ("said", "status", "found"),
    [
        (
            '{"holds": false, "words": "it could read", "lacking": [], "closed": ""}',
            "fail",
            "it could read",
        ),
        (
            '{"holds": true, "words": "it holds; older", "lacking": ["x"], "closed": ""}',
            "warn",
            "it holds; older",
        ),
        (
            '{"holds": true, "words": "/x is closed", "lacking": [], "closed": "/x"}',
            "warn",
            "/x is closed",
        ),
        ("no JSON", "fail", "its test ended without a word: nothing"),
    ],
)
def test_box_is_told_as_its_test_found_it(
    said: str, status: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fake_test.py").write_text(f"print({said!r})")
    monkeypatch.setattr("app.uploads.box.environment", lambda _: {"PYTHONPATH": str(tmp_path)})
    finding = checks.box(tmp_path, "fake_test")
    assert (finding.status, finding.found) == (status, found)
    assert (finding.advice is None) == (status == "ok")


def test_engine_package_fails_with_the_command_when_it_is_missing() -> None:
    finding = checks.engine_package("no-such-package")
    assert finding.status == "fail"
    assert finding.advice is not None
    assert "pip install" in finding.advice


def test_home_fails_when_it_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert checks.writable_home(tmp_path / "file" / "home").status == "fail"
    assert checks.writable_home(tmp_path / "new").status == "ok"
    assert not (tmp_path / "new").exists()


def test_port_is_a_warning_when_something_else_has_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        finding = checks.free_port(tmp_path, "127.0.0.1", port)
        assert finding.status == "warn"
        assert finding.advice is not None
        assert "--port" in finding.advice


def test_port_is_fine_when_the_homes_own_stack_has_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, hold(tmp_path):
        port = taken.getsockname()[1]
        publish(tmp_path, RunningStack(url=f"http://127.0.0.1:{port}", pid=1, parts={}))
        assert checks.free_port(tmp_path, "127.0.0.1", port).status == "ok"


def test_broker_is_the_configured_one_without_its_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENJING_BROKER_URL", "redis://user:secret@host/0")
    finding = checks.broker()
    assert finding.status == "ok"
    assert "secret" not in finding.found


@pytest.mark.parametrize("url", ["redis://:hunter2@broker:6379/0", "user:hunter2@broker"])
def test_broker_is_told_without_its_password(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("PENJING_BROKER_URL", url)
    assert "hunter2" not in str(checks.broker().as_json())
