"""How long a tenant's jobs have run in a calendar month, in UTC."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from app.database.tables import run_times


@dataclass(frozen=True)
class Run:
    """One attempt at a job of this tenant, from its claim to its end."""

    tenant_id: str
    begun_at: datetime
    ended_at: datetime


def month_of(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m")


def next_month(moment: datetime) -> datetime:
    """When the month of this moment is over."""
    now = moment.astimezone(UTC)
    years, month = divmod(now.month, 12)
    return datetime(now.year + years, month + 1, 1, tzinfo=UTC)


def by_month(run: Run) -> Iterator[tuple[str, float]]:
    """The seconds of a run in each month it was in."""
    start = run.begun_at
    while start < run.ended_at:
        end = min(next_month(start), run.ended_at)
        yield month_of(start), (end - start).total_seconds()
        start = end


def add_run_times(connection: Connection, runs: Iterable[Run]) -> None:
    """Count them, always in the same order of rows, so that no two writers wait for each other."""
    seconds: dict[tuple[str, str], float] = defaultdict(float)
    for run in runs:
        for month, run_s in by_month(run):
            seconds[run.tenant_id, month] += run_s
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    for (tenant_id, month), run_s in sorted(seconds.items()):
        row = insert(run_times).values(tenant_id=tenant_id, month=month, run_s=run_s)
        counted = {"run_s": run_times.c.run_s + row.excluded.run_s}
        connection.execute(
            row.on_conflict_do_update(index_elements=["tenant_id", "month"], set_=counted)
        )


def run_s_in_month(connection: Connection, tenant_id: str, moment: datetime) -> float:
    """Of the attempts that have ended."""
    query = select(run_times.c.run_s).where(
        run_times.c.tenant_id == tenant_id, run_times.c.month == month_of(moment)
    )
    return float(connection.execute(query).scalar() or 0.0)
