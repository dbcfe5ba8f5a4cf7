"""Uploads as rows, on every database that is supported."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from app.accounts.principal import DEFAULT_TENANT
from app.database.engine import Database
from app.errors import Malformed, NotFound, RejectedUpload
from app.ids import new_id
from app.recipes.facts import DatasetOptions
from app.uploads.formats import UploadKind
from app.uploads.store import UploadStore
from app.uploads.upload import Upload, UploadStatus
from tests.fakes import a_change

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
MODEL, DATASET = UploadKind.MODEL, UploadKind.DATASET


@pytest.fixture
def store(both_databases: Database) -> UploadStore:
    return UploadStore(both_databases)


def upload(kind: UploadKind = MODEL, status: UploadStatus = UploadStatus.READY) -> Upload:
    return Upload(
        id=new_id("mdl" if kind is MODEL else "dst"),
        tenant_id=DEFAULT_TENANT,
        kind=kind,
        name="模型.keras",
        format="keras",
        size_bytes=2**33,
        sha256="ab" * 32,
        status=status,
        options=DatasetOptions(scale=1 / 255, label="kind"),
        inspection={"layers": [1, 2]} if status is UploadStatus.READY else None,
        problem=None,
        created_at=NOW,
    )


def added(store: UploadStore, *, count: int = 1, kind: UploadKind = MODEL) -> list[Upload]:
    """Uploads in the order of their ids, which is that of their age."""
    fresh = sorted((upload(kind) for _ in range(count)), key=lambda each: each.id)
    for each in fresh:
        store.add(a_change(), each)
    return fresh


def test_get_returns_what_was_added(store: UploadStore) -> None:
    (there,) = added(store)
    assert store.get(DEFAULT_TENANT, there.id, MODEL) == there


def test_get_raises_not_found_when_the_id_is_of_the_other_kind(store: UploadStore) -> None:
    (there,) = added(store)
    with pytest.raises(NotFound, match=there.id):
        store.get(DEFAULT_TENANT, there.id, DATASET)


def test_page_lists_newest_first_until_all_were_seen(store: UploadStore) -> None:
    there = added(store, count=5)
    added(store, count=2, kind=DATASET)
    first = store.page(DEFAULT_TENANT, MODEL, 3, None)
    rest = store.page(DEFAULT_TENANT, MODEL, 3, first.next_cursor)
    assert [*first.items, *rest.items] == there[::-1]
    assert rest.next_cursor is None


def test_page_has_no_next_when_it_ends_with_the_last(store: UploadStore) -> None:
    added(store, count=3)
    assert store.page(DEFAULT_TENANT, MODEL, 3, None).next_cursor is None


@pytest.mark.parametrize("cursor", ["", "mdl_", "' or 1=1 --", "mdl_" + "g" * 26])
def test_page_refuses_cursors_of_others(store: UploadStore, cursor: str) -> None:
    with pytest.raises(Malformed):
        store.page(DEFAULT_TENANT, MODEL, 3, cursor)


def test_finish_writes_down_what_was_understood(store: UploadStore) -> None:
    waiting = upload(status=UploadStatus.INSPECTING)
    store.add(a_change(), waiting)
    ready = replace(waiting, status=UploadStatus.READY, inspection={"a": 1})
    store.finish(ready)
    assert store.get(DEFAULT_TENANT, waiting.id, MODEL) == ready
    assert store.inspecting() == []


def test_finish_writes_down_why_it_was_refused(store: UploadStore) -> None:
    waiting = upload(status=UploadStatus.INSPECTING)
    store.add(a_change(), waiting)
    problem = RejectedUpload("no", hint="do").as_problem()
    store.finish(replace(waiting, status=UploadStatus.REJECTED, problem=problem))
    assert store.get(DEFAULT_TENANT, waiting.id, MODEL).problem == problem


def test_finish_does_nothing_when_the_upload_was_deleted_meanwhile(store: UploadStore) -> None:
    waiting = upload(status=UploadStatus.INSPECTING)
    store.add(a_change(), waiting)
    store.delete(a_change(), waiting.id, lambda connection, tenant_id, upload_id: False, NOW)
    store.finish(replace(waiting, status=UploadStatus.READY))
    with pytest.raises(NotFound):
        store.get(DEFAULT_TENANT, waiting.id, MODEL)


def test_inspecting_lists_what_was_left_unfinished(store: UploadStore) -> None:
    added(store)
    waiting = upload(status=UploadStatus.INSPECTING)
    store.add(a_change(), waiting)
    assert store.inspecting() == [waiting]


def test_referenced_names_every_digest_once(store: UploadStore) -> None:
    added(store, count=2)
    store.add(a_change(), replace(upload(DATASET), sha256="cd" * 32))
    assert store.referenced() == {"ab" * 32, "cd" * 32}
