"""The same cases as uploads to the API, each file read by the confined inspector."""

import asyncio
import os
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from app.main import assemble
from app.settings import Settings
from tests.fakes import FakeQueue
from tests.fuzz.cases import Case, case
from tests.fuzz.reading import peak_bytes

AT_A_TIME = 3
# By so much the API's process may grow once it is warm, whatever is sent.
GROWTH_BYTES = 64 * 2**20
WARM = 20
MOST_BYTES, WAIT_S = 2**20, 60
# Taken, refused by the limit of bytes, as no known format, or by a rule.
VERDICTS = frozenset({201, 413, 415, 422})


async def send(start: int, count: int, formats: tuple[str, ...] = ()) -> list[str]:
    """Upload `count` cases to an API in this process.

    Returns: what is wrong: answers that are no verdict, an API that grew or is gone, files left.
    """
    with tempfile.TemporaryDirectory() as folder:
        async with _api(Path(folder)) as http:
            return await send_to(
                http, Path(folder), os.getpid(), range(start, start + count), formats
            )


async def send_to(
    http: httpx.AsyncClient, home: Path, pid: int, numbers: range, formats: tuple[str, ...]
) -> list[str]:
    """Upload these cases to the API whose state is in `home`. Returns: as `send`."""
    statuses: Counter[int] = Counter()
    complaints: list[str] = []
    begun = time.monotonic()
    await _upload_all(http, iter(numbers[:WARM]), formats, statuses, complaints)
    peak = peak_bytes(pid)
    await _upload_all(http, iter(numbers[WARM:]), formats, statuses, complaints)
    grown = peak_bytes(pid) - peak
    complaints += [f"the API grew by {grown} bytes"] if grown > GROWTH_BYTES else []
    alive = await http.get("/livez")
    complaints += [f"/livez answers {alive.status_code}"] if alive.is_error else []
    left = [path.name for path in (home / "blobs" / "tmp").glob("*")]
    complaints += [f"left behind: {left}"] if left else []
    took_s = time.monotonic() - begun
    print(f"over HTTP: {dict(sorted(statuses.items()))} in {took_s:.0f} s; grown by {grown} bytes")
    return complaints


@asynccontextmanager
async def _api(home: Path) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(
        home=home, require_keys=False, max_upload_bytes=MOST_BYTES, inspection_wait_s=WAIT_S
    )
    application = assemble(settings, FakeQueue())
    transport = httpx.ASGITransport(application, raise_app_exceptions=False)
    async with (
        application.router.lifespan_context(application),
        httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=90) as http,
    ):
        yield http


async def _upload_all(
    http: httpx.AsyncClient,
    numbers: Iterator[int],
    formats: tuple[str, ...],
    statuses: Counter[int],
    complaints: list[str],
) -> None:
    async def work() -> None:
        for number in numbers:
            answer = await _upload(http, case(number, formats))
            statuses[answer.status_code] += 1
            if answer.status_code not in VERDICTS:
                complaints.append(f"number {number}: {answer.status_code} {answer.text[:300]}")

    await asyncio.gather(*(work() for _ in range(AT_A_TIME)))


async def _upload(http: httpx.AsyncClient, given: Case) -> httpx.Response:
    return await http.post(f"/v1/{given.kind}", params={"name": given.name}, content=given.content)
