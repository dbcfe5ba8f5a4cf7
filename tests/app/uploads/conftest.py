"""Real stores on a temporary folder."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.blobs.store import BlobStore
from app.database.engine import Database
from app.database.tables import metadata
from app.errors import RejectedUpload
from app.recipes.facts import DatasetOptions
from app.uploads.fair_scheduler import FairScheduler
from app.uploads.inspecting import AT_ONCE, Inspector, Turn
from app.uploads.inspector.protocol import Inspection, InspectionOrder
from app.uploads.inspector.read import read
from app.uploads.service import UploadService
from app.uploads.store import UploadStore
from tests.app.conftest import add_default_tenant

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)

MakeService = Callable[..., UploadService]


class InPlaceInspector(Inspector):
    """Reads in this process: as the child does, without the second it takes to start one."""

    async def inspect(
        self, path: Path, file_format: str, options: DatasetOptions, turn: Turn = AT_ONCE
    ) -> Inspection:
        order = InspectionOrder(format=file_format, options=options)
        # The child opens the file at once and answers later.
        with path.open("rb") as file:
            await asyncio.sleep(0)
            try:
                return read(order, file)
            except RejectedUpload as error:
                return Inspection(problem=error.as_problem())


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'penjing.db'}")
    metadata.create_all(database.engine)
    add_default_tenant(database)
    yield database
    database.close()


@pytest.fixture
def uploads(database: Database) -> UploadStore:
    return UploadStore(database)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


def make_inspector(kind: type[Inspector], scratch: Path) -> Inspector:
    return kind(
        scratch=scratch,
        limit_s=120,
        memory_bytes=2**30,
        file_bytes=2**30,
    )


@pytest.fixture
def inspector(tmp_path: Path) -> Inspector:
    return make_inspector(Inspector, tmp_path)


@pytest.fixture(params=[Inspector, InPlaceInspector])
def any_inspector(request: pytest.FixtureRequest, tmp_path: Path) -> Inspector:
    return make_inspector(request.param, tmp_path)


@pytest.fixture
def make_service(uploads: UploadStore, blobs: BlobStore, tmp_path: Path) -> MakeService:
    def make(
        *, wait_s: float = 30, max_bytes: int = 2**20, inspector: Inspector | None = None
    ) -> UploadService:
        return UploadService(
            store=uploads,
            blobs=blobs,
            inspector=inspector or make_inspector(InPlaceInspector, tmp_path),
            turns=FairScheduler(2, 32),
            clock=lambda: NOW,
            is_in_use=lambda connection, tenant_id, upload_id: False,
            max_bytes=max_bytes,
            wait_s=wait_s,
        )

    return make
