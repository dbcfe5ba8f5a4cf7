"""The API as a process of its own, on a free port of this machine."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import httpx

ROOT = Path(__file__).parents[3]
START_LIMIT_S = 30.0
SERVE = (sys.executable, "-m", "app.serve")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def served(
    home: Path,
    port: int,
    *,
    command: Sequence[str] | None = None,
    environment: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
    stderr: IO[str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """The API of this home, answering; killed when the block ends."""
    process = subprocess.Popen(
        command or (*SERVE, "--port", str(port)),
        cwd=ROOT,
        env={**os.environ, "PENJING_HOME": str(home), **(environment or {})},
        pass_fds=pass_fds,
        stderr=stderr,
    )
    try:
        _await_answer(process, port)
        yield process
    finally:
        process.kill()
        process.wait()


def _await_answer(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while True:
        assert process.poll() is None, "the API ended while it was starting"
        try:
            httpx.get(f"http://127.0.0.1:{port}/livez", trust_env=False)
            return
        except httpx.TransportError:
            assert time.monotonic() < deadline, "the API did not answer"
            time.sleep(0.05)
