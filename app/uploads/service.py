"""The use cases of uploads: take one in, list, read, delete."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from app.accounts.audited_changes import AuditedChange
from app.accounts.quotas import Room
from app.blobs.store import BlobStore, BlobWriter
from app.errors import InUse, RejectedUpload
from app.ids import new_id
from app.recipes.facts import DatasetOptions
from app.uploads.fair_scheduler import FairScheduler
from app.uploads.formats import UploadKind, recognize
from app.uploads.inspecting import Inspects
from app.uploads.inspector.protocol import Inspection
from app.uploads.names import display_name
from app.uploads.store import IsInUse, UploadPage, UploadStore
from app.uploads.under_way import Arriving, UnderWay
from app.uploads.upload import Upload, UploadStatus

log = logging.getLogger(__name__)

PREFIXES = {UploadKind.MODEL: "mdl", UploadKind.DATASET: "dst"}


@dataclass(frozen=True)
class IncomingUpload:
    """What comes beside the bytes. `filename` is what the client calls its file, if it says so."""

    change: AuditedChange
    kind: UploadKind
    name: str | None
    filename: str | None
    options: DatasetOptions


@dataclass(frozen=True)
class UploadService:
    """The door: bytes are written, recognized and inspected; only what passes is kept.

    Args:
        is_in_use: whether an active job of this tenant uses the upload of this id.
        max_bytes: of one file.
        wait_s: how long `receive` waits for an inspection before it goes on without it.
        reserve_bytes: kept free on the disk of the blobs.
    """

    store: UploadStore
    blobs: BlobStore
    inspector: Inspects
    turns: FairScheduler
    clock: Callable[[], datetime]
    is_in_use: IsInUse
    max_bytes: int
    wait_s: float
    reserve_bytes: int = 0
    under_way: UnderWay = field(default_factory=UnderWay)
    _unfinished: set[asyncio.Task[None]] = field(default_factory=set)

    async def receive(self, sent: IncomingUpload, batches: AsyncIterator[bytes]) -> Upload:
        """Take in one file. Batches of about 1 MiB are best; two are held at a time.

        Returns: the upload, ready, or still inspecting where that takes longer than `wait_s`.
        Raises: Invalid, UnsupportedFormat, RejectedUpload, TooLarge, QuotaStorage, StorageFull,
            TooManyInspections, TooManyUploads, Unavailable, what `record_change` raises;
            in all these cases, and where `batches` raises, nothing is kept.
        """
        tenant_id = sent.change.tenant_id
        self.turns.require_place(tenant_id)
        name = display_name(sent.name or sent.filename or sent.kind)
        with (
            self.under_way.one(tenant_id) as arriving,
            self.blobs.writer(self.reserve_bytes) as writer,
        ):
            room = await asyncio.to_thread(self._stored_room, tenant_id)
            await self._write(writer, batches, room, arriving)
            claimed = sent.filename or sent.name or ""
            found = await asyncio.to_thread(recognize, writer.path, sent.kind, claimed)
            inspecting = asyncio.create_task(
                self.inspector.inspect(writer.path, found, sent.options, self.turns.of(tenant_id))
            )
            try:
                upload = await self._keep(writer, sent, name, found, inspecting)
            except BaseException:
                inspecting.cancel()
                raise
        if upload.status is UploadStatus.INSPECTING:
            self._in_background(upload, inspecting)
        return upload

    def room(self, tenant_id: str) -> Room:
        """What an upload that begins now may come to, beside those under way."""
        return self._stored_room(tenant_id).without(self.under_way.bytes_of(tenant_id))

    def get(self, tenant_id: str, upload_id: str, kind: UploadKind) -> Upload:
        """Raises: NotFound."""
        return self.store.get(tenant_id, upload_id, kind)

    def list(self, tenant_id: str, kind: UploadKind, limit: int, cursor: str | None) -> UploadPage:
        """Newest first. Raises: Malformed."""
        return self.store.page(tenant_id, kind, limit, cursor)

    def content(self, upload: Upload) -> Path:
        """Where its bytes are."""
        return self.blobs.path(upload.sha256)

    def delete(self, change: AuditedChange, upload_id: str, kind: UploadKind) -> None:
        """Forget an upload; its bytes go with the next sweep, unless another has the same.

        Raises: NotFound, InUse, what `record_change` raises.
        """
        upload = self.store.get(change.tenant_id, upload_id, kind)
        if not self.store.delete(change, upload.id, self.is_in_use, self.clock()):
            raise InUse(
                f"{upload.id} is used by a job that has not ended",
                hint="Cancel the job or wait for its end, then delete.",
            )

    async def resume(self) -> None:
        """Take up the inspections that came to no end: by an earlier process, or for a lack."""
        waiting = await asyncio.to_thread(self.store.inspecting)
        under_way = {task.get_name() for task in self._unfinished}
        for upload in waiting:
            if upload.id not in under_way:
                self._in_background(upload, asyncio.create_task(self._inspect_kept(upload)))

    async def close(self) -> None:
        """Stop the inspections under way; `resume` takes them up."""
        for task in self._unfinished:
            task.cancel()
        await asyncio.gather(*self._unfinished, return_exceptions=True)

    def _stored_room(self, tenant_id: str) -> Room:
        return self.store.room(tenant_id, self.max_bytes)

    async def _write(
        self, writer: BlobWriter, batches: AsyncIterator[bytes], room: Room, arriving: Arriving
    ) -> None:
        """Hash and write one batch in a thread while the next one arrives.

        What is stored was asked once, when this upload began: one that is kept meanwhile is room
        for the others until they end, when the store has the last word.
        """
        writing: asyncio.Task[None] | None = None
        try:
            async for batch in batches:
                arriving.add(len(batch))
                room.without(arriving.beside_bytes).require(arriving.received, "have come")
                if writing:
                    await asyncio.shield(writing)
                writing = asyncio.create_task(asyncio.to_thread(writer.write, batch))
        finally:
            # Whatever happened, the thread must be done before the file is closed.
            if writing:
                await asyncio.wait({writing})
        if writing:
            writing.result()

    async def _keep(
        self,
        writer: BlobWriter,
        sent: IncomingUpload,
        name: str,
        found: str,
        inspecting: asyncio.Task[Inspection],
    ) -> Upload:
        """Blob and row, in this order, once the inspection has passed or takes too long."""
        await asyncio.to_thread(writer.flush_to_disk)
        await asyncio.wait({inspecting}, timeout=self.wait_s)
        inspection = inspecting.result() if inspecting.done() else None
        if inspection and inspection.problem:
            problem = inspection.problem
            raise RejectedUpload(problem.detail, hint=problem.hint, errors=problem.errors)
        blob = await asyncio.to_thread(writer.commit)
        upload = Upload(
            id=new_id(PREFIXES[sent.kind]),
            tenant_id=sent.change.tenant_id,
            kind=sent.kind,
            name=name,
            format=found,
            size_bytes=blob.size_bytes,
            sha256=blob.sha256,
            status=UploadStatus.INSPECTING,
            options=sent.options,
            inspection=None,
            problem=None,
            created_at=self.clock(),
        )
        upload = inspected(upload, inspection) if inspection else upload
        await asyncio.to_thread(self.store.add, sent.change, upload)
        return upload

    async def _inspect_kept(self, upload: Upload) -> Inspection:
        try:
            path = self.blobs.path(upload.sha256)
            turn = self.turns.of(upload.tenant_id, is_new=False)
            return await self.inspector.inspect(path, upload.format, upload.options, turn)
        except FileNotFoundError:
            gone = RejectedUpload("its bytes are gone from the store", hint="Upload it again.")
            return Inspection(problem=gone.as_problem())

    def _in_background(self, upload: Upload, inspecting: asyncio.Task[Inspection]) -> None:
        task = asyncio.create_task(self._finish(upload, inspecting), name=upload.id)
        self._unfinished.add(task)
        task.add_done_callback(self._unfinished.discard)

    async def _finish(self, upload: Upload, inspecting: asyncio.Task[Inspection]) -> None:
        try:
            inspection = await inspecting
            await asyncio.to_thread(self.store.finish, inspected(upload, inspection))
        except Exception:
            # The row still says "inspecting": the next `resume` takes it up.
            log.exception("inspection.unfinished", extra={"upload_id": upload.id})


def inspected(upload: Upload, inspection: Inspection) -> Upload:
    """The upload with what came of its inspection."""
    if inspection.problem:
        return replace(upload, status=UploadStatus.REJECTED, problem=inspection.problem)
    facts = inspection.model or inspection.dataset
    return replace(
        upload,
        status=UploadStatus.READY,
        inspection=facts.model_dump(mode="json") if facts else None,
        options=inspection.options or upload.options,
    )
