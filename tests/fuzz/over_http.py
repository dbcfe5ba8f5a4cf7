"""The same cases as uploads: the API over ASGI, each file read by the confined inspector."""

import asyncio
import resource
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

AT_A_TIME = 3
# By so much the API's process may grow once it is warm, whatever is sent.
GROWTH_BYTES = 64 * 2**20
WARM = 20
# Taken, refused by the limit of bytes, as no known format, or by a rule.
VERDICTS = frozenset({201, 413, 415, 422})


async def send(start: int, count: int, formats: tuple[str, ...] = ()) -> list[str]:
    """Upload `count` cases.

    Returns: what is wrong: answers that are no verdict, an API that grew or is gone, files left.
    """
    statuses: Counter[int] = Counter()
    complaints: list[str] = []
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        async with _api(home) as http:
            warm = range(start, start + min(WARM, count))
            await _upload_all(http, iter(warm), formats, statuses, complaints)
            resident = _peak_bytes()
            rest = range(start + len(warm), start + count)
            await _upload_all(http, iter(rest), formats, statuses, complaints)
            grown = _peak_bytes() - resident
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
    settings = Settings(home=home, require_keys=False, max_upload_bytes=2**20, inspection_wait_s=60)
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


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
