"""What a child says, written to the job's history and progress."""

import logging
import threading
from collections import Counter
from collections.abc import Sequence

from sqlalchemy.exc import InterfaceError, OperationalError, TimeoutError

from app.database.engine import json_text
from app.jobs.job import Job
from app.jobs.rows import NewEvent
from worker.background import Background
from worker.engine.order import Event
from worker.workshop import Workshop

log = logging.getLogger(__name__)

# A progress bar needs no more; every write makes the job's version, and its readers, move.
WRITE_EVERY_S = 0.25
# Training tells its loss several times a second, for hours: a job's history has 200 of them.
LEAST_PROGRESS = 0.005
THINNED = frozenset({"progress", "metrics"})
KEPT = frozenset({"phase", "step", "warning"})
# A child that talks without end fills no database: so many events of a kind are kept, so large,
# and of one attempt no more than so many bytes, as they are stored.
MOST_KEPT = 1_000
MOST_BYTES = 2 * 2**20
LONGEST_MESSAGE = 2_000
LONGEST_WORD = 200
MOST_DATA = 20
LEFT_OUT = "This job said more than is kept; what came after this was left out."
# What the database's driver raises while it is away; the same statement may do well later.
UNREACHABLE = (OperationalError, InterfaceError, TimeoutError)


class Journal(Background):
    """Stores events in order, a few writes a second; progress and metrics are thinned.

    A thread of its own writes: who watches a child waits for no database. While that is away or
    slow, what is to be written waits, which is MOST_BYTES at most.
    """

    def __init__(self, shop: Workshop, job: Job) -> None:
        super().__init__(self._store_until_done, f"journal-{job.id}")
        self._shop = shop
        self._job = job
        self._pending: list[NewEvent] = []
        self._kept: Counter[str] = Counter()
        self._room = MOST_BYTES
        self._progress = 0.0
        self._told_progress = 0.0
        self._has_moved = False
        self._lock = threading.Lock()
        self.phase = "starting"

    def write(self, events: Sequence[Event]) -> None:
        """Take events in; they are stored soon."""
        with self._lock:
            for event in events:
                self._take(bounded(event))

    def close(self) -> None:
        """Store the rest: the last word of a job comes after all it said.

        Raises: one of UNREACHABLE; nothing is lost, and it may be called again.
        """
        self.end()
        self._store()

    def _store_until_done(self) -> None:
        while not self.done.wait(WRITE_EVERY_S):
            try:
                self._store()
            except UNREACHABLE as error:
                log.warning("journal.delayed", extra={"job_id": self._job.id, "why": repr(error)})

    def _take(self, event: Event) -> None:
        self.phase = self._shop.clean.text(event.phase) if event.phase else self.phase
        if event.progress is not None:
            self._progress = max(self._progress, min(event.progress, 1.0))
            self._has_moved = True
        if self._is_to_be_told(event):
            facts = event.model_dump(mode="json", exclude={"event", "problem"}, exclude_none=True)
            self._keep(NewEvent(event.event, self._shop.clean.data(facts)))

    def _keep(self, event: NewEvent) -> None:
        """Until there is no room for one; that is said once, and nothing is kept from then on."""
        if self._room < 0:
            return
        size = len(json_text(event.data))
        if size > self._room:
            event, size = NewEvent("warning", {"message": LEFT_OUT}), self._room + 1
        self._pending.append(event)
        self._room -= size

    def _is_to_be_told(self, event: Event) -> bool:
        if event.event in KEPT:
            self._kept[event.event] += 1
            return self._kept[event.event] <= MOST_KEPT
        if event.event not in THINNED or self._progress - self._told_progress < LEAST_PROGRESS:
            return False
        self._told_progress = self._progress
        return True

    def _store(self) -> None:
        with self._lock:
            events, has_moved = self._pending, self._has_moved
            self._pending, self._has_moved = [], False
            phase, progress = self.phase, self._progress
        if not events and not has_moved:
            return
        job, now = self._job, self._shop.clock()
        try:
            self._shop.leases.record(job.id, job.fence, now, events, phase, progress)
        except UNREACHABLE:
            with self._lock:
                self._pending, self._has_moved = events + self._pending, True
            raise
        except Exception:
            # It would be refused again, and with it all that is said from now on.
            log.exception("journal.refused", extra={"job_id": job.id})


def bounded(event: Event) -> Event:
    """The event in a size that can be stored."""
    data = event.data and {
        cut(name, LONGEST_WORD): cut(value, LONGEST_WORD) if isinstance(value, str) else value
        for name, value in list(event.data.items())[:MOST_DATA]
    }
    phase = event.phase and cut(event.phase, LONGEST_WORD)
    message = event.message and cut(event.message, LONGEST_MESSAGE)
    return event.model_copy(update={"phase": phase, "message": message, "data": data})


def cut(text: str, limit: int) -> str:
    # PostgreSQL stores no text with a zero in it.
    return text[:limit].replace("\0", "\N{REPLACEMENT CHARACTER}")
