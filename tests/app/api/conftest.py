"""The API over ASGI, on SQLite and a blob store in a folder of the test."""

import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.api.connections import ConnectionLimits
from app.api.deps import Services
from app.database.engine import Database
from app.database.migrate import upgrade
from app.main import assemble
from app.settings import Settings
from app.uploads.box import BoxTrial, Examine
from tests.app.api.serving import serving
from tests.fakes import FakeClock, FakeQueue

MAX_UPLOAD_BYTES = 3 * 2**20


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Migrated once; every test starts from a copy."""
    path = tmp_path_factory.mktemp("database") / "penjing.db"
    database = Database(f"sqlite:///{path}")
    upgrade(database)
    database.close()
    return path


@pytest.fixture
def settings(tmp_path: Path, empty_database: Path) -> Settings:
    shutil.copy(empty_database, tmp_path / "penjing.db")
    return Settings(home=tmp_path, require_keys=False, max_upload_bytes=MAX_UPLOAD_BYTES)


@dataclass(frozen=True)
class Api:
    """A client, and what is behind the API it talks to."""

    http: httpx.AsyncClient
    application: FastAPI
    queue: FakeQueue
    clock: FakeClock

    @property
    def services(self) -> Services:
        services: Services = self.application.state.services
        return services

    async def get(self, path: str, **request: Any) -> httpx.Response:
        return await self.http.get(path, **request)

    async def post(self, path: str, **request: Any) -> httpx.Response:
        return await self.http.post(path, **request)


@pytest.fixture
def examine() -> Examine:
    """Nothing is tried: most tests ask for something else."""
    return lambda home: BoxTrial(holds=True, words="it holds")


@pytest.fixture
async def api(settings: Settings, examine: Examine) -> AsyncIterator[Api]:
    queue, clock = FakeQueue(), FakeClock()
    application = assemble(settings, queue, clock, examine)
    transport = httpx.ASGITransport(application, raise_app_exceptions=False)
    async with (
        application.router.lifespan_context(application),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as http,
    ):
        yield Api(http, application, queue, clock)


@pytest.fixture
def asking(api: Api) -> Api:
    """The API where keys are asked for."""
    settings = api.services.settings.model_copy(update={"require_keys": True})
    api.application.state.services = replace(api.services, settings=settings)
    return api


@pytest.fixture
def limits() -> ConnectionLimits:
    return ConnectionLimits.of_this_process(())


@pytest.fixture
async def url(api: Api, limits: ConnectionLimits) -> AsyncIterator[str]:
    """The API of the test behind a real socket: over ASGI alone an answer comes in one piece."""
    # Connections that a test holds open are open as long as it likes.
    patient = {"timeout_graceful_shutdown": 1, "timeout_keep_alive": 3600}
    async with serving(api.application, limits, **patient) as url:
        yield url
