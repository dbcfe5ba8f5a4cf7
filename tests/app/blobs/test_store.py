"""The blob store on a real folder."""

import hashlib
import os
import resource
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.blobs.store import BlobStore
from app.errors import StorageFull, StoreUnwritable

BYTES = b"a model" * 1000
SHA256 = hashlib.sha256(BYTES).hexdigest()
HOUR_S = 3600.0


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


def put(store: BlobStore, content: bytes = BYTES) -> Path:
    with store.writer() as writer:
        writer.write(content)
        return store.path(writer.commit().sha256)


def lose_connection_while_writing(store: BlobStore) -> None:
    with store.writer() as writer:
        writer.write(BYTES)
        raise ConnectionError


def files(store: BlobStore) -> list[Path]:
    return [path for path in store.root.rglob("*") if path.is_file() and path.name != "lock"]


def later(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


@contextmanager
def files_no_larger_than(size_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_commit_names_the_blob_by_its_digest(store: BlobStore) -> None:
    with store.writer() as writer:
        for start in range(0, len(BYTES), 999):
            writer.write(BYTES[start : start + 999])
        blob = writer.commit()
    assert (blob.sha256, blob.size_bytes) == (SHA256, len(BYTES))
    assert store.path(SHA256) == store.root / SHA256[:2] / SHA256[2:]
    assert store.path(SHA256).read_bytes() == BYTES


def test_writer_leaves_nothing_when_not_committed(store: BlobStore) -> None:
    with store.writer() as writer:
        writer.write(BYTES)
    assert files(store) == []


def test_writer_leaves_nothing_when_the_block_raises(store: BlobStore) -> None:
    with pytest.raises(ConnectionError):
        lose_connection_while_writing(store)
    assert files(store) == []


def test_commit_stores_the_same_bytes_once(store: BlobStore) -> None:
    assert put(store) == put(store)
    assert files(store) == [store.path(SHA256)]


def test_commit_stores_the_same_bytes_once_when_threads_race(store: BlobStore) -> None:
    barrier = threading.Barrier(4)

    def race() -> None:
        with store.writer() as writer:
            writer.write(BYTES)
            barrier.wait()
            writer.commit()

    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert files(store) == [store.path(SHA256)]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o444), (0o077, 0o400)])
def test_blob_is_read_only_for_whoever_could_read_it(
    store: BlobStore, umask: int, mode: int
) -> None:
    before = os.umask(umask)
    try:
        path = put(store)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", SHA256.upper(), SHA256 + "0"])
def test_path_refuses_what_is_no_digest(store: BlobStore, digest: str) -> None:
    with pytest.raises(ValueError, match="sha256"):
        store.path(digest)


def test_write_raises_storage_full_and_keeps_nothing_when_there_is_no_room(
    store: BlobStore,
) -> None:
    with files_no_larger_than(4096), pytest.raises(StorageFull), store.writer() as writer:
        writer.write(bytes(10_000))
    assert files(store) == []


def test_writer_raises_store_unwritable_without_a_path_when_the_folder_is_none(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreUnwritable) as caught, BlobStore(tmp_path / "file").writer():
        pass
    assert str(tmp_path) not in caught.value.detail


def test_sweep_removes_temporary_files_when_an_upload_was_killed(store: BlobStore) -> None:
    store.temporary.mkdir(parents=True)
    (store.temporary / "half").write_bytes(b"12345")
    swept = store.sweep(frozenset(), later(2 * HOUR_S), HOUR_S)
    assert (swept.temporary_files, swept.blobs, swept.freed_bytes) == (1, 0, 5)
    assert files(store) == []


def test_sweep_keeps_temporary_files_of_an_upload_under_way(store: BlobStore) -> None:
    with store.writer() as writer:
        writer.write(BYTES)
        store.sweep(frozenset(), later(0), HOUR_S)
        writer.commit()
    assert files(store) == [store.path(SHA256)]


def test_sweep_removes_blobs_when_nothing_refers_to_them(store: BlobStore) -> None:
    kept, dropped = put(store), put(store, b"other")
    swept = store.sweep({SHA256}, later(2 * HOUR_S), HOUR_S)
    assert swept.blobs == 1
    assert kept.exists()
    assert not dropped.exists()


def test_sweep_keeps_a_blob_that_was_committed_but_not_yet_referred_to(store: BlobStore) -> None:
    path = put(store)
    store.sweep(frozenset(), later(HOUR_S / 2), HOUR_S)
    assert path.exists()


def test_sweep_keeps_an_old_blob_that_was_just_uploaded_again(store: BlobStore) -> None:
    path = put(store)
    long_ago = later(-10 * HOUR_S).timestamp()
    os.utime(path, (long_ago, long_ago))
    put(store)
    store.sweep(frozenset(), later(0), HOUR_S)
    assert path.exists()


def test_touch_keeps_an_old_blob_from_the_sweep_and_misses_one_that_is_gone(
    store: BlobStore,
) -> None:
    path = put(store)
    long_ago = later(-10 * HOUR_S).timestamp()
    os.utime(path, (long_ago, long_ago))
    sha256 = path.parent.name + path.name
    assert store.touch(sha256)
    store.sweep(frozenset(), later(0), HOUR_S)
    assert path.exists()
    path.unlink()
    assert not store.touch(sha256)


def test_sweep_does_nothing_when_there_is_no_store_yet(store: BlobStore) -> None:
    assert store.sweep(frozenset(), later(0), HOUR_S).freed_bytes == 0
