"""What a child says, written to the job's history and progress."""

import logging
import time
from collections.abc import Sequence

from sqlalchemy.exc import SQLAlchemyError

from app.jobs.job import Job
from app.jobs.rows import NewEvent
from worker.engine.order import Event
from worker.workshop import Workshop

log = logging.getLogger(__name__)

# A progress bar needs no more; every write makes the job's version, and its readers, move.
WRITE_EVERY_S = 0.25
# Training tells its loss several times a second, for hours: a job's history has 200 of them.
LEAST_PROGRESS = 0.005
THINNED = frozenset({"progress", "metrics"})
KEPT = frozenset({"phase", "step", "warning"})
# A child that talks without end fills no database.
MOST_KEPT = 5_000


class Journal:
    """Stores events in order, a few writes a second; progress and metrics are thinned.

    While the database is away, what is to be written waits.
    """

    def __init__(self, shop: Workshop, job: Job) -> None:
        self._shop = shop
        self._job = job
        self._pending: list[NewEvent] = []
        self._kept = 0
        self._progress = 0.0
        self._told_progress = 0.0
        self._has_moved = False
        self._tried_at = -WRITE_EVERY_S
        self.phase = "starting"

    def write(self, events: Sequence[Event]) -> None:
        """Take events in, and store what waits if it is time; call it without events as well."""
        for event in events:
            self._take(event)
        if time.monotonic() - self._tried_at >= WRITE_EVERY_S:
            self._store()

    def close(self) -> None:
        """Store the rest: the last word of a job comes after all it said."""
        self._store()

    def _take(self, event: Event) -> None:
        self.phase = event.phase or self.phase
        if event.progress is not None:
            self._progress = max(self._progress, min(event.progress, 1.0))
            self._has_moved = True
        if self._is_to_be_told(event):
            facts = event.model_dump(mode="json", exclude={"event"}, exclude_none=True)
            self._pending.append(NewEvent(event.event, facts))

    def _is_to_be_told(self, event: Event) -> bool:
        if event.event in KEPT:
            self._kept += 1
            return self._kept <= MOST_KEPT
        if event.event not in THINNED or self._progress - self._told_progress < LEAST_PROGRESS:
            return False
        self._told_progress = self._progress
        return True

    def _store(self) -> None:
        if not self._pending and not self._has_moved:
            return
        self._tried_at = time.monotonic()
        job, now = self._job, self._shop.clock()
        try:
            self._shop.leases.record(
                job.id, job.fence, now, self._pending, self.phase, self._progress
            )
        except SQLAlchemyError as error:
            log.warning("journal.delayed", extra={"job_id": job.id, "why": repr(error)})
            return
        self._pending, self._has_moved = [], False
