"""What a child says, written to the job's history and progress."""

import time
from collections.abc import Sequence

from app.jobs.job import Job
from app.jobs.rows import NewEvent
from worker.engine.order import Event
from worker.workshop import Workshop

# A progress bar needs no more; every write makes the job's version, and its readers, move.
PROGRESS_EVERY_S = 0.25
# A child that talks without end fills no database.
MOST_EVENTS = 5_000


class Journal:
    """Stores events in order; progress is thinned, everything else is kept."""

    def __init__(self, shop: Workshop, job: Job) -> None:
        self._shop = shop
        self._job = job
        self._written_at = 0.0
        self._count = 0
        self._progress = 0.0
        self.phase = "starting"

    def write(self, events: Sequence[Event]) -> None:
        for event in events:
            self.phase = event.phase or self.phase
            self._progress = max(self._progress, min(event.progress or 0.0, 1.0))
        told = [
            _told(event)
            for event in events
            if event.event in ("phase", "metrics", "step", "warning")
        ]
        told = told[: MOST_EVENTS - self._count]
        moved = any(event.progress is not None for event in events)
        is_due = time.monotonic() - self._written_at >= PROGRESS_EVERY_S
        if not told and not (moved and is_due):
            return
        if is_due and moved and self._count < MOST_EVENTS:
            told.append(self._progress_event(events))
        self._store(told)

    def _progress_event(self, events: Sequence[Event]) -> NewEvent:
        last = next(event for event in reversed(events) if event.progress is not None)
        facts = {"progress": self._progress, "phase": self.phase, "message": last.message}
        return NewEvent("progress", facts)

    def _store(self, told: Sequence[NewEvent]) -> None:
        self._count += len(told)
        self._written_at = time.monotonic()
        self._shop.leases.record(
            self._job.id,
            self._job.fence,
            self._shop.clock(),
            told,
            self.phase,
            self._progress,
        )


def _told(event: Event) -> NewEvent:
    facts = event.model_dump(mode="json", exclude={"event"}, exclude_none=True)
    return NewEvent(event.event, facts)
