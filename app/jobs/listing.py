"""Pages of jobs: filters, order, and a cursor that holds while rows are added."""

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    RowMapping,
    Text,
    and_,
    cast,
    exists,
    func,
    or_,
    select,
)

from app.database.cursors import not_given_out
from app.database.engine import Database
from app.database.tables import job_labels, jobs
from app.jobs.job import Job, JobState
from app.jobs.rows import JOB_COLUMNS, job_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
# A page ends early where its jobs are this long together, as JSON: long recipes, long reports.
MOST_PAGE_CHARS = 2 * 2**20
FETCHED = 20
JOB_NAMES = tuple(column.name for column in JOB_COLUMNS)
CHARS = (
    func.coalesce(func.length(cast(jobs.c.request, Text)), 0)
    + func.coalesce(func.length(cast(jobs.c.report, Text)), 0)
    + func.coalesce(func.length(cast(jobs.c.error, Text)), 0)
).label("chars")
# Microseconds up to the year 5138, and an id.
CURSOR = re.compile(r"([0-9]{1,17})\.(job_[0-9a-f]{26})")


@dataclass(frozen=True)
class JobFilter:
    """All given conditions hold. `tag` is `key` or `key:value`."""

    state: JobState | None = None
    technique: str | None = None
    model_id: str | None = None
    tag: str | None = None
    newest_first: bool = True


@dataclass(frozen=True)
class JobPage:
    items: list[Job]
    next_cursor: str | None


def list_jobs(
    database: Database, tenant_id: str, wanted: JobFilter, limit: int, cursor: str | None
) -> JobPage:
    """One page of a tenant's jobs, by creation time and id.

    Raises: Malformed for a cursor that is not one of ours.
    """
    order = (jobs.c.created_at, jobs.c.id)
    query = select(*JOB_COLUMNS, CHARS).where(jobs.c.tenant_id == tenant_id, *_conditions(wanted))
    if cursor:
        query = query.where(_beyond(*decode_cursor(cursor), newest_first=wanted.newest_first))
    query = query.order_by(*(c.desc() if wanted.newest_first else c.asc() for c in order))
    query = query.limit(limit + 1).execution_options(yield_per=FETCHED)
    with database.read() as connection, connection.execute(query) as rows:
        items, has_more = _page_of(rows.mappings(), limit)
    return JobPage(items, encode_cursor(items[-1].created_at, items[-1].id) if has_more else None)


def _page_of(rows: Iterable[RowMapping], limit: int) -> tuple[list[Job], bool]:
    """The jobs of one page, one at least, and whether others follow."""
    items: list[Job] = []
    held_chars = 0
    for row in rows:
        held_chars += row["chars"]
        if len(items) == limit or (items and held_chars > MOST_PAGE_CHARS):
            return items, True
        items.append(job_of({name: row[name] for name in JOB_NAMES}))
    return items, False


def encode_cursor(created_at: datetime, job_id: str) -> str:
    text = f"{(created_at - EPOCH) // MICROSECOND}.{job_id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> tuple[datetime, str]:
    """Raises: Malformed."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        text = base64.b64decode(padded, altchars="-_", validate=True).decode()
    except ValueError:
        text = ""
    match = CURSOR.fullmatch(text)
    if match is None:
        raise not_given_out()
    return EPOCH + int(match[1]) * MICROSECOND, match[2]


def _conditions(wanted: JobFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.state is not None:
        conditions.append(jobs.c.state == wanted.state)
    if wanted.model_id is not None:
        conditions.append(jobs.c.model_id == wanted.model_id)
    if wanted.technique is not None:
        conditions.append(_labelled("technique", wanted.technique, None))
    if wanted.tag is not None:
        key, colon, value = wanted.tag.partition(":")
        conditions.append(_labelled("tag", key, value if colon else None))
    return conditions


def _labelled(kind: str, key: str, value: str | None) -> ColumnElement[bool]:
    label = job_labels.c
    same: list[Any] = [label.job_id == jobs.c.id, label.kind == kind, label.key == key]
    if value is not None:
        same.append(label.value == value)
    return exists().where(*same)


def _beyond(at: datetime, row_id: str, *, newest_first: bool) -> ColumnElement[bool]:
    created, identity = jobs.c.created_at, jobs.c.id
    if newest_first:
        return or_(created < at, and_(created == at, identity < row_id))
    return or_(created > at, and_(created == at, identity > row_id))
