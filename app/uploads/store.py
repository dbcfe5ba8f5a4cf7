"""Uploads as database rows."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, delete, insert, select, update

from app.accounts.audited_changes import AuditedChange, record_change
from app.accounts.quotas import (
    NO_QUOTAS,
    Quotas,
    Room,
    Storage,
    locked_quotas,
    require_storage,
    room_for_upload,
    storage_of,
)
from app.database.cursors import id_cursor
from app.database.engine import Database, json_bytes
from app.database.tables import uploads
from app.errors import NotFound, Problem
from app.recipes.facts import DatasetOptions
from app.uploads.formats import UploadKind
from app.uploads.upload import Upload, UploadStatus

# Beside a file and what is known of it: its columns and indices, its place in the folder of blobs.
UPLOAD_BYTES = 1024

# Whether an active job of this tenant uses the upload of this id, asked inside a transaction.
IsInUse = Callable[[Connection, str, str], bool]


@dataclass(frozen=True)
class UploadPage:
    items: list[Upload]
    next_cursor: str | None


class UploadStore:
    """One row an upload; the bytes are in the blob store.

    What belongs to another tenant is not there: it is found by no query.
    """

    def __init__(self, database: Database, quotas: Quotas = NO_QUOTAS) -> None:
        self._database = database
        self._quotas = quotas

    def room(self, tenant_id: str, most_bytes: int) -> Room:
        """What an upload may come to, of `most_bytes` at most."""
        with self._database.read() as connection:
            return room_for_upload(connection, tenant_id, self._quotas, most_bytes)

    def storage(self, tenant_id: str) -> Storage:
        """What counts against the tenant's storage."""
        with self._database.read() as connection:
            return storage_of(connection, tenant_id)

    def add(self, change: AuditedChange, upload: Upload) -> None:
        """Raises: QuotaStorage where others took the room meanwhile; what `record_change` does."""
        with self._database.write() as connection:
            quotas = locked_quotas(connection, upload.tenant_id, self._quotas)
            values = _values(upload)
            more_bytes = upload.size_bytes + values["row_bytes"]
            require_storage(connection, upload.tenant_id, quotas, more_bytes)
            connection.execute(insert(uploads).values(values))
            record_change(connection, change, upload.id, upload.created_at)

    def get(self, tenant_id: str, upload_id: str, kind: UploadKind) -> Upload:
        """Raises: NotFound, also where the id names something of the other kind."""
        wanted = _owned(tenant_id, upload_id) & (uploads.c.kind == kind)
        with self._database.read() as connection:
            row = connection.execute(select(uploads).where(wanted)).mappings().one_or_none()
        if row is None:
            raise NotFound(f"there is no {kind} {upload_id!r}")
        return _upload(row)

    def page(self, tenant_id: str, kind: UploadKind, limit: int, cursor: str | None) -> UploadPage:
        """Newest first. A cursor is the last id of the page before: ids sort by age.

        Raises: Malformed for a cursor that is not one of ours.
        """
        query = select(uploads).where(uploads.c.tenant_id == tenant_id, uploads.c.kind == kind)
        if cursor is not None:
            query = query.where(uploads.c.id < id_cursor(cursor, "mdl", "dst"))
        query = query.order_by(uploads.c.id.desc()).limit(limit + 1)
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
        items = [_upload(row) for row in rows[:limit]]
        return UploadPage(items, items[-1].id if len(rows) > limit else None)

    def finish(self, upload: Upload) -> None:
        """Write down how an inspection ended; nothing happens if it was deleted meanwhile."""
        row = _owned(upload.tenant_id, upload.id)
        waiting = row & (uploads.c.status == UploadStatus.INSPECTING)
        with self._database.write() as connection:
            connection.execute(update(uploads).where(waiting).values(_values(upload)))

    def delete(
        self, change: AuditedChange, upload_id: str, is_in_use: IsInUse, now: datetime
    ) -> bool:
        """Forget an upload; False where it is in use, and stays.

        Its row is locked before the question is asked, so nobody starts to use it meanwhile.
        Raises: what `record_change` raises.
        """
        row = _owned(change.tenant_id, upload_id)
        with self._database.write() as connection:
            connection.execute(select(uploads.c.id).where(row).with_for_update())
            if is_in_use(connection, change.tenant_id, upload_id):
                return False
            if connection.execute(delete(uploads).where(row)).rowcount:
                record_change(connection, change, upload_id, now)
        return True

    def inspecting(self) -> list[Upload]:
        """What still waits for its inspection, oldest first, of all tenants."""
        waiting = uploads.c.status == UploadStatus.INSPECTING
        with self._database.read() as connection:
            rows = connection.execute(select(uploads).where(waiting).order_by(uploads.c.id))
            return [_upload(row) for row in rows.mappings()]

    def referenced(self) -> set[str]:
        """The digests of all blobs that belong to an upload, of all tenants."""
        with self._database.read() as connection:
            return set(connection.scalars(select(uploads.c.sha256).distinct()))


def _owned(tenant_id: str, upload_id: str) -> ColumnElement[bool]:
    return (uploads.c.tenant_id == tenant_id) & (uploads.c.id == upload_id)


def _values(upload: Upload) -> dict[str, Any]:
    problem = upload.problem.model_dump(mode="json") if upload.problem else None
    return {
        **vars(upload),
        "options": upload.options.model_dump(mode="json"),
        "problem": problem,
        "row_bytes": UPLOAD_BYTES + json_bytes(upload.inspection, problem),
    }


def _upload(row: RowMapping) -> Upload:
    problem = row["problem"]
    return Upload(
        **{
            **{field.name: row[field.name] for field in fields(Upload)},
            "kind": UploadKind(row["kind"]),
            "status": UploadStatus(row["status"]),
            "options": DatasetOptions.model_validate(row["options"]),
            "problem": Problem.model_validate(problem) if problem else None,
        }
    )
