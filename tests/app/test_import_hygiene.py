"""The API process is light: soon there, small, and without the frameworks of the worker."""

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.app.api.serving import ROOT, free_port, served

# The goal is 1.5 s of an idle machine; processor time is what a busy one cannot stretch.
IMPORT_CPU_S = 1.5
RESIDENT_BYTES = 120 * 2**20
HEAVY = {"tensorflow", "keras", "numpy", "h5py", "scipy", "tflite", "ai_edge_litert"}


def test_import_takes_little_time() -> None:
    program = "import time, app.main; print(time.process_time())"
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert float(run.stdout) < IMPORT_CPU_S


def test_import_loads_no_framework() -> None:
    program = f"import sys, app.main; print(*sorted(sys.modules.keys() & {HEAVY}))"
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == []


def test_process_stays_small_when_it_serves(tmp_path: Path) -> None:
    port = free_port()
    rows = b"a,label\n" + b"1,0\n2,1\n" * 20
    with served(tmp_path, port) as process:
        url = f"http://127.0.0.1:{port}"
        for request in ("/openapi.json", "/v1/techniques", "/v1/jobs", "/readyz"):
            httpx.get(url + request, trust_env=False)
        uploaded = httpx.post(f"{url}/v1/datasets", content=rows, trust_env=False, timeout=60)
        assert uploaded.status_code == 201, uploaded.text
        assert resident_bytes(process.pid) < RESIDENT_BYTES


@pytest.mark.parametrize("size_bytes", [64 * 2**20])
def test_memory_is_flat_while_a_large_file_comes_in(tmp_path: Path, size_bytes: int) -> None:
    port = free_port()
    with served(tmp_path, port) as process:
        url = f"http://127.0.0.1:{port}/v1/datasets"
        httpx.post(url, content=b"no data set", trust_env=False, timeout=60)
        before = peak_bytes(process.pid)
        chunks = (b"x" * 2**20 for _ in range(size_bytes // 2**20))
        answer = httpx.post(url, content=chunks, trust_env=False, timeout=60)
        assert 400 <= answer.status_code < 500
        assert peak_bytes(process.pid) - before < size_bytes / 4


def resident_bytes(pid: int) -> int:
    return _status_bytes(pid, "VmRSS")


def peak_bytes(pid: int) -> int:
    return _status_bytes(pid, "VmHWM")


def _status_bytes(pid: int, field: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"{field}:\s+(\d+) kB", status)
    assert found, os.uname()
    return int(found[1]) * 1024
