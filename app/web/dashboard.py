"""The first page: is the service ready, how far are jobs confined, how are one's own jobs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from app.accounts.quotas import Quotas
from app.jobs.admission import JobUsage
from app.jobs.presence import Standing, Worker
from app.reports.figures import bytes_text, duration_text
from app.uploads.names import showable
from app.web.job_line import JobLine

FOLDER = Path(__file__).parent
STYLE = FOLDER / "static" / "dashboard.css"
STANDINGS = {
    Standing.CONFINED: "confined",
    Standing.UNCONFINED: "UNCONFINED",
    Standing.TAKES_NONE: "takes none",
    Standing.UNKNOWN: "unknown",
}
OLDER = "not known: the worker is of an older version"
# In place of how far the box holds.
WITHOUT_A_BOX = {
    Standing.CONFINED: OLDER,
    Standing.UNCONFINED: "does not hold: jobs have the worker's own rights",
    Standing.TAKES_NONE: "does not hold: the worker's log says why",
    Standing.UNKNOWN: OLDER,
}


@dataclass(frozen=True)
class CheckLine:
    """`look` is good or bad; what is allowed and dangerous is bad, though nothing fails."""

    name: str
    look: str
    state: str
    detail: str

    @classmethod
    def of(cls, name: str, detail: str, *, is_ok: bool, is_alarm: bool) -> "CheckLine":
        state = "warning" if is_alarm else "ok" if is_ok else "failing"
        look = "good" if state == "ok" else "bad"
        return cls(name.replace("_", " "), look, state, detail)


@dataclass(frozen=True)
class WorkerLine:
    name: str
    look: str
    standing: str
    box: str
    lacking: Sequence[str]

    @classmethod
    def of(cls, worker: Worker) -> "WorkerLine":
        box = worker.box
        return cls(
            name=worker.token,
            look="good" if worker.standing is Standing.CONFINED else "bad",
            standing=STANDINGS[worker.standing],
            box=f"Landlock {box.landlock_abi}, as {box.user}"
            if box
            else WITHOUT_A_BOX[worker.standing],
            lacking=box.lacking if box else (),
        )


@dataclass(frozen=True)
class Own:
    """What one tenant sees: nothing here depends on any other one."""

    tenant: str
    is_keyless: bool
    workers: Sequence[WorkerLine]
    queue: Mapping[str, str]
    jobs: Sequence[JobLine]
    has_more_jobs: bool


@dataclass(frozen=True)
class Dashboard:
    """`own` is null for who brought no key, and while the database cannot be read."""

    version: str
    at: datetime
    is_ready: bool
    alarms: Sequence[str]
    checks: Sequence[CheckLine]
    is_guest: bool
    own: Own | None

    def as_html(self) -> str:
        return PAGES.get_template("dashboard.html").render(page=self)


def queue_of(usage: JobUsage, quotas: Quotas) -> dict[str, str]:
    """In numbers: what there is, and how much there may be."""
    return {
        "waiting": _of(str(usage.queued), quotas.jobs_queued),
        "running": _of(str(usage.running), quotas.jobs_running),
        "run time this month": _of(
            duration_text(usage.run_s),
            None if quotas.run_s is None else duration_text(quotas.run_s),
        ),
    }


def _of(used: str, limit: object) -> str:
    return used if limit is None else f"{used} of {limit}"


def _pages() -> Environment:
    # Names come from strangers: what is put into a template is escaped, whatever it is.
    pages = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters.update(showable=showable, bytes=bytes_text)
    return pages


PAGES = _pages()
