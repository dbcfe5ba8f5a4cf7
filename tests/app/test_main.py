"""What the API process does when it starts, beside answering."""

import asyncio
from pathlib import Path

import pytest

from app import main
from app.accounts.principal import DEFAULT_TENANT
from app.blobs.store import BlobStore
from app.database.engine import Database
from app.database.migrate import upgrade
from app.ids import new_id
from app.main import assemble, utc_now
from app.recipes.facts import DatasetOptions
from app.settings import Settings
from app.uploads.formats import UploadKind
from app.uploads.service import UploadService
from app.uploads.store import UploadStore
from app.uploads.upload import Upload, UploadStatus
from tests.fakes import FakeQueue, a_change

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_start_migrates_an_empty_home(tmp_path: Path) -> None:
    application = assemble(Settings(home=tmp_path / "new"), FakeQueue())
    async with application.router.lifespan_context(application):
        uploads = application.state.services.uploads
        assert uploads.list(DEFAULT_TENANT, UploadKind.MODEL, 10, None).items == []


async def test_start_takes_up_the_inspection_that_a_killed_process_left(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    upload = left_behind(settings)
    application = assemble(settings, FakeQueue())
    async with application.router.lifespan_context(application):
        facts = (await inspected(application.state.services.uploads, upload)).dataset_facts()
    assert facts is not None
    assert (facts.train_rows, facts.test_rows) == (16, 4)


async def test_inspection_is_taken_up_again_when_it_could_not_be_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(main, "HOUSEKEEPING_EVERY_S", 0.05)
    settings = Settings(home=tmp_path)
    upload = left_behind(settings)
    in_the_way = tmp_path / "inspections"
    in_the_way.touch()
    application = assemble(settings, FakeQueue())
    async with application.router.lifespan_context(application), asyncio.timeout(120):
        while "inspection.unfinished" not in caplog.messages:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        in_the_way.unlink()
        upload = await inspected(application.state.services.uploads, upload)
    assert upload.status is UploadStatus.READY


async def inspected(uploads: UploadService, upload: Upload) -> Upload:
    """The upload once its inspection has ended."""
    async with asyncio.timeout(120):
        while upload.status is UploadStatus.INSPECTING:
            await asyncio.sleep(0.05)
            upload = uploads.get(DEFAULT_TENANT, upload.id, upload.kind)
    return upload


def left_behind(settings: Settings) -> Upload:
    """A data set whose process died before it was inspected."""
    database = Database(settings.resolved_database_url)
    upgrade(database)
    with BlobStore(settings.resolved_blobs).writer() as writer:
        writer.write(b"a,label\n" + b"1,0\n2,1\n" * 10)
        blob = writer.commit()
    upload = Upload(
        id=new_id("dst"),
        tenant_id=DEFAULT_TENANT,
        kind=UploadKind.DATASET,
        name="rows.csv",
        format="csv",
        size_bytes=blob.size_bytes,
        sha256=blob.sha256,
        status=UploadStatus.INSPECTING,
        options=DatasetOptions(label="label"),
        inspection=None,
        problem=None,
        created_at=utc_now(),
    )
    UploadStore(database).add(a_change(), upload)
    database.close()
    return upload
