"""Uploads on their way in count as those that are kept do."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace

import pytest

from app.accounts.errors import QuotaStorage
from app.accounts.principal import DEFAULT_TENANT
from app.accounts.quotas import Quotas
from app.blobs.store import BlobStore
from app.database.engine import Database
from app.errors import StorageFull
from app.recipes.facts import DatasetOptions
from app.uploads.formats import UploadKind
from app.uploads.service import IncomingUpload
from app.uploads.store import UploadStore
from app.uploads.under_way import MOST_AT_A_TIME, TooManyUploads, UnderWay
from tests.app.uploads.conftest import MakeService
from tests.fakes import a_change

pytestmark = pytest.mark.anyio

OTHER = "ten_other"
ROWS = b"a,b\n" + b"1,2\n" * 14
SENT = IncomingUpload(a_change(), UploadKind.DATASET, None, "rows.csv", DatasetOptions())


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def stalled(come: asyncio.Event, go_on: asyncio.Event) -> AsyncIterator[bytes]:
    yield ROWS
    come.set()
    await go_on.wait()
    raise ConnectionError


async def one_batch() -> AsyncIterator[bytes]:
    yield ROWS


async def test_bytes_under_way_are_no_room_for_the_next_upload(
    make_service: MakeService, database: Database
) -> None:
    limited = UploadStore(database, Quotas(storage_bytes=100))
    service = replace(make_service(), store=limited)
    come, go_on = asyncio.Event(), asyncio.Event()
    first = asyncio.create_task(service.receive(SENT, stalled(come, go_on)))
    await come.wait()

    assert service.room(DEFAULT_TENANT).storage_bytes == 40
    with pytest.raises(QuotaStorage, match="60 bytes have come, 40 are left"):
        await service.receive(SENT, one_batch())

    go_on.set()
    with pytest.raises(ConnectionError):
        await first
    assert service.room(DEFAULT_TENANT).storage_bytes == 100
    await make_service().receive(SENT, one_batch())
    stored_bytes = limited.storage(DEFAULT_TENANT).total_bytes
    assert stored_bytes > 60
    assert service.room(DEFAULT_TENANT).storage_bytes == 100 - stored_bytes


async def test_one_upload_too_many_is_refused_before_it_is_read(
    make_service: MakeService,
) -> None:
    service = replace(make_service(), under_way=UnderWay(1))
    come, go_on = asyncio.Event(), asyncio.Event()
    first = asyncio.create_task(service.receive(SENT, stalled(come, go_on)))
    await come.wait()

    unread = one_batch()
    with pytest.raises(TooManyUploads, match="1 uploads of this tenant") as refused:
        await service.receive(SENT, unread)
    assert refused.value.retry_after_s > 0
    assert await anext(unread)

    go_on.set()
    with pytest.raises(ConnectionError):
        await first
    await service.receive(SENT, one_batch())


def test_tenant_has_its_own_places_and_leaves_nothing_behind() -> None:
    under_way = UnderWay(1)
    with under_way.one(DEFAULT_TENANT) as arriving, under_way.one(OTHER):
        arriving.add(7)
        assert (under_way.bytes_of(DEFAULT_TENANT), under_way.bytes_of(OTHER)) == (7, 0)
        assert arriving.beside_bytes == 0
    assert under_way.bytes_of(DEFAULT_TENANT) == 0
    with under_way.one(DEFAULT_TENANT):
        pass
    assert MOST_AT_A_TIME == 32


@pytest.mark.parametrize(("free_before", "batches_read"), [((99,), 0), ((1000, 120, 120), 2)])
async def test_disk_keeps_its_reserve(
    make_service: MakeService,
    blobs: BlobStore,
    monkeypatch: pytest.MonkeyPatch,
    free_before: tuple[int, ...],
    batches_read: int,
) -> None:
    """Before the first byte, and as bytes come."""
    left, read = list(free_before), 0

    def disk_usage(path: str | os.PathLike[str]) -> SimpleNamespace:
        free = left.pop(0) if len(left) > 1 else left[0]
        return SimpleNamespace(free=free)

    async def batches() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(2):
            read += 1
            yield ROWS

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    with pytest.raises(StorageFull, match="bytes are free"):
        await replace(make_service(), reserve_bytes=100).receive(SENT, batches())
    assert read == batches_read
    assert [path for path in blobs.root.rglob("*") if path.is_file()] == []
