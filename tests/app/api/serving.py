"""The API behind a real socket: as a process of its own, or in the loop of the test.

Its socket is bound before it starts and stays bound: nobody else comes by the number meanwhile.
"""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import httpx
import uvicorn

from app import serve
from app.api.connections import ConnectionLimits

ROOT = Path(__file__).parents[3]
START_LIMIT_S = 60.0
SERVE = (sys.executable, "-m", "app.serve")


def a_listener() -> socket.socket:
    """On a free port of this machine."""
    return socket.create_server(("127.0.0.1", 0))


def url_of(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


@dataclass(frozen=True)
class Served:
    process: "subprocess.Popen[bytes]"
    url: str


@contextmanager
def served(
    home: Path,
    *,
    environment: Mapping[str, str] | None = None,
    stderr: IO[str] | None = None,
) -> Iterator[Served]:
    """The API of this home, answering on a socket that it inherits; killed when the block ends."""
    with a_listener() as listener:
        fd, url = listener.fileno(), url_of(listener)
        arguments = ("--fd", str(fd))
        with started(
            home, *arguments, environment=environment, pass_fds=(fd,), stderr=stderr
        ) as one:
            await_answer(one, lambda: url)
            yield Served(one, url)


@contextmanager
def started(
    home: Path,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
    stderr: IO[str] | None = None,
) -> Iterator["subprocess.Popen[bytes]"]:
    """The process of the API, killed when the block ends."""
    process = subprocess.Popen(
        (*SERVE, *arguments),
        cwd=ROOT,
        env={**os.environ, "PENJING_HOME": str(home), **(environment or {})},
        pass_fds=pass_fds,
        stderr=stderr,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def await_answer(process: "subprocess.Popen[bytes]", url: Callable[[], str | None]) -> None:
    """`url`: where it listens, as soon as that is known."""
    deadline = time.monotonic() + START_LIMIT_S
    while not _answers(url()):
        assert process.poll() is None, "the API ended while it was starting"
        assert time.monotonic() < deadline, "the API did not answer"
        time.sleep(0.05)


def _answers(url: str | None) -> bool:
    try:
        return url is not None and httpx.get(f"{url}/livez", trust_env=False).is_success
    except httpx.TransportError:
        return False


@asynccontextmanager
async def serving(application: Any, limits: ConnectionLimits, **more: Any) -> AsyncIterator[str]:
    """The address of an application that answers in the loop of the test."""
    with a_listener() as listener:
        config = serve.configured(application, limits, lifespan="off", **more)
        server = uvicorn.Server(config)
        running = asyncio.create_task(server.serve([listener]))
        try:
            async with asyncio.timeout(START_LIMIT_S):
                while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
                    await asyncio.sleep(0.01)
            yield url_of(listener)
        finally:
            server.should_exit = True
            await running
