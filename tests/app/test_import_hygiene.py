"""The API process is light: soon there, small, and without the frameworks of the worker."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.app.api.serving import ROOT, served

# The goal is 1.5 s of an idle machine; processor time is what a busy one cannot stretch.
IMPORT_CPU_S = 1.5
RESIDENT_BYTES = 120 * 2**20
LARGE_FILE_BYTES = 64 * 2**20
HEAVY = {
    *("tensorflow", "keras", "numpy", "h5py", "scipy", "tflite", "ai_edge_litert"),
    *("pyarrow", "PIL"),
}


def test_import_is_quick_and_loads_no_framework() -> None:
    program = (
        f"import sys, time, app.main;print(time.process_time(), *(sys.modules.keys() & {HEAVY}))"
    )
    # Twice: on a clean clone the first time compiles, and keeps what it compiled for the second.
    _, answer = (answer_of(program) for _ in range(2))
    spent_s, *loaded = answer.split()
    assert loaded == []
    assert float(spent_s) < IMPORT_CPU_S


def answer_of(program: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    """Process id and address of an API that has answered a bit of everything."""
    with served(tmp_path_factory.mktemp("home")) as one:
        for path in ("/openapi.json", "/v1/techniques", "/v1/jobs", "/readyz"):
            httpx.get(one.url + path, trust_env=False, timeout=60)
        rows = b"a,label\n" + b"1,0\n2,1\n" * 20
        answer = httpx.post(f"{one.url}/v1/datasets", content=rows, trust_env=False, timeout=60)
        assert answer.status_code == 201, answer.text
        yield one.process.pid, one.url


def test_process_stays_small_when_it_serves(api: tuple[int, str]) -> None:
    pid, _ = api
    assert memory_bytes(pid, "VmRSS") < RESIDENT_BYTES


def test_memory_is_flat_while_a_large_file_comes_in(api: tuple[int, str]) -> None:
    pid, url = api
    before = memory_bytes(pid, "VmHWM")
    chunks = (b"x" * 2**20 for _ in range(LARGE_FILE_BYTES // 2**20))
    answer = httpx.post(f"{url}/v1/models", content=chunks, trust_env=False, timeout=60)
    assert answer.status_code == 415
    assert memory_bytes(pid, "VmHWM") - before < LARGE_FILE_BYTES / 4


def memory_bytes(pid: int, field: str) -> int:
    """What the kernel says: `VmRSS` is resident now, `VmHWM` the most that ever was."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"{field}:\s+(\d+) kB", status)
    assert found, status
    return int(found[1]) * 1024
