"""Quotas of storage, at their edge, while bytes come and from many threads."""

import json
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from app.accounts.errors import QuotaStorage
from app.accounts.principal import DEFAULT_TENANT
from app.accounts.quotas import Quotas, Room
from app.blobs.store import BlobStore
from app.database.engine import Database
from app.errors import TooLarge
from app.ids import new_id
from app.recipes.facts import DatasetOptions
from app.uploads.formats import UploadKind
from app.uploads.service import IncomingUpload
from app.uploads.store import UPLOAD_BYTES, UploadStore
from app.uploads.upload import Upload, UploadStatus
from tests.app.conftest import add_tenant
from tests.app.uploads.conftest import MakeService
from tests.app.uploads.test_store import upload
from tests.fakes import a_change

OTHER = "ten_other"
STORAGE_BYTES = 2 * UPLOAD_BYTES + 100
SENT = IncomingUpload(a_change(), UploadKind.DATASET, None, "rows.csv", DatasetOptions())


def of_size(size_bytes: int, tenant_id: str = DEFAULT_TENANT) -> Upload:
    """An upload of which nothing is known: it counts as its file and its row do."""
    of_file = replace(upload(), id=new_id("mdl"), tenant_id=tenant_id, size_bytes=size_bytes)
    return replace(of_file, inspection=None, problem=None)


@pytest.fixture
def store(both_databases: Database) -> UploadStore:
    add_tenant(both_databases, OTHER, "other")
    return UploadStore(both_databases, Quotas(storage_bytes=STORAGE_BYTES))


def test_uploads_fill_the_storage_and_not_one_byte_more(store: UploadStore) -> None:
    store.add(a_change(), of_size(99))
    with pytest.raises(QuotaStorage, match=f"{UPLOAD_BYTES + 99} of {STORAGE_BYTES} bytes"):
        store.add(a_change(), of_size(2))
    store.add(a_change(), of_size(100, OTHER))
    store.add(a_change(), of_size(1))
    assert store.storage(DEFAULT_TENANT).total_bytes == STORAGE_BYTES


def test_what_is_known_of_an_upload_counts_with_it(store: UploadStore) -> None:
    known = {"layers": ["x" * 60]}
    told = UPLOAD_BYTES + len(json.dumps(known))
    store.add(a_change(), replace(of_size(10), inspection=known))
    storage = store.storage(DEFAULT_TENANT)
    assert (storage.uploads_bytes, storage.rows_bytes) == (10, told)
    with pytest.raises(QuotaStorage, match=f"{10 + told} of {STORAGE_BYTES} bytes"):
        store.add(a_change(), replace(of_size(0), inspection=known))
    waiting = replace(of_size(0), status=UploadStatus.INSPECTING)
    store.add(a_change(), waiting)
    # What was let in may be inspected to its end.
    store.finish(replace(waiting, status=UploadStatus.READY, inspection=known))
    assert store.storage(DEFAULT_TENANT).rows_bytes == 2 * told


def test_deleted_upload_leaves_its_room(store: UploadStore) -> None:
    full = of_size(UPLOAD_BYTES + 100)
    store.add(a_change(), full)
    assert store.delete(a_change(), full.id, lambda *_: False, full.created_at)
    store.add(a_change(), replace(full, id=new_id("mdl")))


def test_exactly_what_fits_is_kept_when_twenty_come_at_once(both_databases: Database) -> None:
    store = UploadStore(both_databases, Quotas(storage_bytes=4 * (UPLOAD_BYTES + 30) - 1))

    def add(_: int) -> bool:
        try:
            store.add(a_change(), of_size(30))
        except QuotaStorage:
            return False
        return True

    with ThreadPoolExecutor(20) as pool:
        assert sum(pool.map(add, range(20))) == 3
    assert store.storage(DEFAULT_TENANT).uploads_bytes == 90


@pytest.mark.parametrize(
    ("quotas", "room"),
    [
        (Quotas(), Room(1000)),
        (Quotas(upload_bytes=500), Room(500)),
        (Quotas(upload_bytes=5000), Room(1000)),
        (Quotas(storage_bytes=UPLOAD_BYTES + 100), Room(1000, 60)),
        (Quotas(storage_bytes=UPLOAD_BYTES + 30), Room(1000, -10)),
    ],
)
def test_room_is_the_least_of_what_is_allowed(
    both_databases: Database, quotas: Quotas, room: Room
) -> None:
    UploadStore(both_databases).add(a_change(), of_size(40))
    assert UploadStore(both_databases, quotas).room(DEFAULT_TENANT, 1000) == room


@pytest.mark.parametrize(
    ("size_bytes", "error"),
    [(60, None), (61, QuotaStorage), (1000, QuotaStorage), (1001, TooLarge)],
)
def test_room_refuses_by_what_is_in_the_way(size_bytes: int, error: type[Exception] | None) -> None:
    room = Room(1000, 60)
    if error is None:
        room.require(size_bytes, "were announced")
        return
    with pytest.raises(error, match=f"{size_bytes} bytes were announced"):
        room.require(size_bytes, "were announced")


@pytest.mark.anyio
async def test_upload_ends_as_soon_as_it_is_more_than_there_is_room_for(
    make_service: MakeService, database: Database, blobs: BlobStore
) -> None:
    taken = 0

    async def batches() -> AsyncIterator[bytes]:
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield b"1,2\n" * 10

    limited = UploadStore(database, Quotas(storage_bytes=100))
    service = replace(make_service(), store=limited)
    with pytest.raises(QuotaStorage, match="120 bytes have come, 100 are left"):
        await service.receive(SENT, batches())
    assert taken == 3
    assert limited.storage(DEFAULT_TENANT).total_bytes == 0
    assert [path for path in blobs.root.rglob("*") if path.is_file()] == []


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
