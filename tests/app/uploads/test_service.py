"""The door as a whole, on real stores; the inspector is a child only where its time matters."""

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.accounts.principal import DEFAULT_TENANT
from app.blobs.store import BlobStore
from app.errors import (
    InUse,
    Invalid,
    NotFound,
    NotReady,
    RejectedUpload,
    TooLarge,
    Unavailable,
    UnsupportedFormat,
)
from app.ids import new_id
from app.recipes.facts import DatasetOptions
from app.uploads.fair_scheduler import FairScheduler, TooManyInspections
from app.uploads.formats import UploadKind
from app.uploads.inspecting import Inspector
from app.uploads.inspector.protocol import Inspection
from app.uploads.service import IncomingUpload, UploadService
from app.uploads.store import UploadStore
from app.uploads.upload import Upload, UploadStatus
from tests.app.uploads.conftest import InPlaceInspector, make_inspector
from tests.fakes import a_change

MakeService = Callable[..., UploadService]

CORPUS = Path(__file__).parents[2] / "corpus"
MODEL, DATASET = UploadKind.MODEL, UploadKind.DATASET
CLASSIFIER = (CORPUS / "m01_ok.keras").read_bytes()


async def in_batches(content: bytes, size: int = 500) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


def incoming(
    kind: UploadKind = MODEL,
    name: str | None = "net.keras",
    filename: str | None = None,
    options: DatasetOptions | None = None,
) -> IncomingUpload:
    return IncomingUpload(a_change(), kind, name, filename, options or DatasetOptions())


def receive(
    service: UploadService, content: bytes = CLASSIFIER, said: IncomingUpload | None = None
) -> Upload:
    return asyncio.run(service.receive(said or incoming(), in_batches(content)))


def files(blobs: BlobStore) -> list[Path]:
    return [path for path in blobs.root.rglob("*") if path.is_file() and path.name != "lock"]


def left_inspecting(service: UploadService) -> Upload:
    """A model as a process that was killed leaves it: stored, and not inspected."""
    with service.blobs.writer() as writer:
        writer.write(CLASSIFIER)
        blob = writer.commit()
    upload = Upload(
        id=new_id("mdl"),
        tenant_id=DEFAULT_TENANT,
        kind=MODEL,
        name="net.keras",
        format="keras",
        size_bytes=blob.size_bytes,
        sha256=blob.sha256,
        status=UploadStatus.INSPECTING,
        options=DatasetOptions(),
        inspection=None,
        problem=None,
        created_at=service.clock(),
    )
    service.store.add(a_change(), upload)
    return upload


async def resumed(service: UploadService) -> None:
    await service.resume()
    await others_done()


async def others_done() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*others, return_exceptions=True)


def test_receive_keeps_a_model_that_passes(make_service: MakeService) -> None:
    service = make_service()
    upload = receive(service)
    assert upload.id.startswith("mdl_")
    assert (upload.name, upload.format, upload.status) == ("net.keras", "keras", "ready")
    assert upload.sha256 == hashlib.sha256(CLASSIFIER).hexdigest()
    facts = upload.model_facts()
    assert facts is not None
    assert facts.parameter_count == 15
    assert service.get(DEFAULT_TENANT, upload.id, MODEL) == upload
    assert service.content(upload).read_bytes() == CLASSIFIER


def test_receive_keeps_a_data_set_with_its_options(make_service: MakeService) -> None:
    file = io.BytesIO()
    np.savez(file, x=np.zeros((40, 4)), y=np.arange(40) % 2)
    options = DatasetOptions(scale=0.5, test_fraction=0.25)
    said = incoming(DATASET, "digits.npz", options=options)
    upload = receive(make_service(), file.getvalue(), said)
    assert upload.id.startswith("dst_")
    assert upload.options == options
    facts = upload.dataset_facts()
    assert facts is not None
    assert facts.test_rows == 10


def test_receive_fills_in_the_label_column_of_a_table(make_service: MakeService) -> None:
    content = (CORPUS / "c12_bom_crlf.csv").read_bytes()
    upload = receive(make_service(), content, incoming(DATASET, "table.csv"))
    assert upload.options.label == "label"


@pytest.mark.parametrize(
    ("name", "filename", "shown"),
    [
        ("LeNet v1.5", "net.keras", "LeNet v1.5"),
        (None, "a/b.keras", "b.keras"),
        (None, None, "model"),
    ],
)
def test_receive_shows_the_name_that_was_given(
    make_service: MakeService, name: str | None, filename: str | None, shown: str
) -> None:
    assert receive(make_service(), said=incoming(name=name, filename=filename)).name == shown


def test_receive_stores_the_same_bytes_once_for_two_uploads(
    make_service: MakeService, blobs: BlobStore
) -> None:
    service = make_service()
    first, second = receive(service), receive(service)
    assert first.id != second.id
    assert files(blobs) == [service.content(first)]


@pytest.mark.parametrize(
    ("content", "said", "error"),
    [
        ((CORPUS / "k01_lambda_marshal.keras").read_bytes(), incoming(), RejectedUpload),
        ((CORPUS / "k35_truncated.keras").read_bytes(), incoming(), RejectedUpload),
        (b"a,b\n1,2\n", incoming(), UnsupportedFormat),
        (CLASSIFIER, incoming(DATASET, None), UnsupportedFormat),
        (CLASSIFIER, incoming(name="net.h5"), UnsupportedFormat),
        (CLASSIFIER, incoming(name="LeNet", filename="net.h5"), UnsupportedFormat),
        (CLASSIFIER, incoming(name=".."), Invalid),
        (b"", incoming(), RejectedUpload),
    ],
)
def test_receive_keeps_nothing_of_what_it_refuses(
    make_service: MakeService,
    blobs: BlobStore,
    content: bytes,
    said: IncomingUpload,
    error: type[Exception],
) -> None:
    service = make_service()
    with pytest.raises(error):
        receive(service, content, said)
    assert files(blobs) == []
    assert service.list(DEFAULT_TENANT, said.kind, 10, None).items == []


def test_receive_stops_at_the_limit_and_keeps_nothing(
    make_service: MakeService, blobs: BlobStore
) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1000
            yield bytes(1000)

    with pytest.raises(TooLarge, match="10000"):
        asyncio.run(make_service(max_bytes=10_000).receive(incoming(), endless()))
    assert sent == 11_000
    assert files(blobs) == []


def test_receive_keeps_nothing_when_the_connection_is_lost(
    make_service: MakeService, blobs: BlobStore
) -> None:
    async def lost() -> AsyncIterator[bytes]:
        yield CLASSIFIER[:700]
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        asyncio.run(make_service().receive(incoming(), lost()))
    assert files(blobs) == []


def test_receive_answers_before_a_slow_inspection_ends_and_finishes_it_later(
    make_service: MakeService, inspector: Inspector
) -> None:
    service = make_service(wait_s=0, inspector=inspector)

    async def story() -> Upload:
        upload = await service.receive(incoming(), in_batches(CLASSIFIER))
        await others_done()
        return upload

    answered = asyncio.run(story())
    assert answered.status is UploadStatus.INSPECTING
    with pytest.raises(NotReady):
        answered.model_facts()
    facts = service.get(DEFAULT_TENANT, answered.id, MODEL).model_facts()
    assert facts is not None
    assert facts.parameter_count == 15


def test_receive_says_later_why_a_slow_inspection_refused(
    make_service: MakeService, inspector: Inspector
) -> None:
    service = make_service(wait_s=0, inspector=inspector)

    async def story() -> Upload:
        content = (CORPUS / "m11_nan_weights.keras").read_bytes()
        upload = await service.receive(incoming(), in_batches(content))
        await others_done()
        return upload

    rejected = service.get(DEFAULT_TENANT, asyncio.run(story()).id, MODEL)
    assert rejected.status is UploadStatus.REJECTED
    assert rejected.problem is not None
    assert "NaN" in rejected.problem.detail
    with pytest.raises(RejectedUpload, match="NaN"):
        rejected.model_facts()


def test_resume_takes_up_what_a_stopped_process_left(
    make_service: MakeService, inspector: Inspector
) -> None:
    service = make_service(wait_s=0, inspector=inspector)

    async def stopped() -> Upload:
        upload = await service.receive(incoming(), in_batches(CLASSIFIER))
        await service.close()
        return upload

    async def started() -> None:
        await service.resume()
        await others_done()

    left = asyncio.run(stopped())
    assert service.get(DEFAULT_TENANT, left.id, MODEL).status is UploadStatus.INSPECTING
    asyncio.run(started())
    assert service.get(DEFAULT_TENANT, left.id, MODEL).status is UploadStatus.READY


def test_resume_tries_again_when_the_inspector_could_not_be_started(
    make_service: MakeService, inspector: Inspector, tmp_path: Path
) -> None:
    in_the_way = tmp_path / "plain file"
    in_the_way.touch()
    service = make_service(inspector=replace(inspector, scratch=in_the_way / "scratch"))
    left = left_inspecting(service)
    asyncio.run(resumed(service))
    assert service.get(DEFAULT_TENANT, left.id, MODEL).status is UploadStatus.INSPECTING
    in_the_way.unlink()
    asyncio.run(resumed(service))
    assert service.get(DEFAULT_TENANT, left.id, MODEL).status is UploadStatus.READY


def test_receive_keeps_nothing_when_the_inspector_cannot_be_started(
    make_service: MakeService, inspector: Inspector, blobs: BlobStore, tmp_path: Path
) -> None:
    (tmp_path / "plain file").touch()
    scratch = tmp_path / "plain file" / "scratch"
    with pytest.raises(Unavailable, match="could be started"):
        receive(make_service(inspector=replace(inspector, scratch=scratch)))
    assert files(blobs) == []


def test_receive_reads_nothing_from_a_tenant_with_too_many_waiting(
    make_service: MakeService, blobs: BlobStore
) -> None:
    service = replace(make_service(), turns=FairScheduler(1, 0))

    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError("it was read")
        yield b""

    with pytest.raises(TooManyInspections):
        asyncio.run(service.receive(incoming(), unread()))
    assert files(blobs) == []


def test_resume_rejects_what_has_no_bytes_any_more(make_service: MakeService) -> None:
    service = make_service()
    left = left_inspecting(service)
    service.content(left).unlink()
    asyncio.run(resumed(service))
    rejected = service.get(DEFAULT_TENANT, left.id, MODEL)
    assert rejected.problem is not None
    assert "bytes are gone" in rejected.problem.detail


def test_resume_leaves_alone_what_is_being_inspected(make_service: MakeService) -> None:
    inspections = 0

    class Counting(InPlaceInspector):
        async def inspect(self, *order: Any) -> Inspection:
            nonlocal inspections
            inspections += 1
            return await super().inspect(*order)

    async def resumed_twice() -> None:
        await service.resume()
        await resumed(service)

    service = make_service(inspector=make_inspector(Counting, Path()))
    left = left_inspecting(service)
    asyncio.run(resumed_twice())
    assert inspections == 1
    assert service.get(DEFAULT_TENANT, left.id, MODEL).status is UploadStatus.READY


def test_delete_forgets_an_upload_and_the_sweep_takes_its_bytes(
    make_service: MakeService, blobs: BlobStore, uploads: UploadStore
) -> None:
    service = make_service()
    upload = receive(service)
    service.delete(a_change(), upload.id, MODEL)
    with pytest.raises(NotFound):
        service.get(DEFAULT_TENANT, upload.id, MODEL)
    assert upload.sha256 not in uploads.referenced()


def test_delete_refuses_when_an_active_job_uses_the_upload(make_service: MakeService) -> None:
    service = make_service()
    upload = receive(service)
    busy = replace(
        service, is_in_use=lambda connection, tenant_id, upload_id: upload_id == upload.id
    )
    with pytest.raises(InUse, match=upload.id):
        busy.delete(a_change(), upload.id, MODEL)
    assert service.get(DEFAULT_TENANT, upload.id, MODEL) == upload


def test_delete_raises_not_found_when_the_id_is_of_the_other_kind(
    make_service: MakeService,
) -> None:
    service = make_service()
    upload = receive(service)
    with pytest.raises(NotFound):
        service.delete(a_change(), upload.id, DATASET)
