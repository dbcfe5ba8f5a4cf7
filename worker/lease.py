"""Keeping a job while it runs."""

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime

from app.errors import Cancelled
from app.jobs.job import Job
from app.jobs.leases import JobLeases
from app.jobs.outcomes import Renewal
from app.settings import Settings
from worker.background import Background

log = logging.getLogger(__name__)

Clock = Callable[[], datetime]


class Hold(Background):
    """Renews the lease of one job in the background; knows when it is lost or to be cancelled."""

    def __init__(self, leases: JobLeases, job: Job, settings: Settings, clock: Clock) -> None:
        super().__init__(self._keep, f"hold-{job.id}")
        self.job = job
        self._leases = leases
        self._settings = settings
        self._clock = clock
        self._lost = threading.Event()
        self._cancelled = threading.Event()

    @property
    def is_lost(self) -> bool:
        return self._lost.is_set()

    @property
    def cancel_requested(self) -> bool:
        return self._cancelled.is_set()

    def require_wanted(self) -> None:
        """Raises: Cancelled."""
        if self.cancel_requested:
            raise Cancelled("the job was cancelled while it ran")

    def _keep(self) -> None:
        try:
            self._renew_until_done()
        finally:
            # However this thread ends: a job that nobody renews is not ours for long.
            if not self.done.is_set():
                self._lost.set()

    def _renew_until_done(self) -> None:
        """Returns early where the row says that the job is not ours any more.

        A database that is away says nothing: nobody else can take the job meanwhile, and should
        somebody do it first when the database is back, the fence keeps this attempt out.
        """
        renewed_at = time.monotonic()
        is_reachable = True
        while not self.done.wait(self._settings.poll_s):
            now = time.monotonic()
            is_due = now - renewed_at >= self._settings.heartbeat_s
            try:
                seen = self._renew() if is_due else self._look()
            except Exception as error:  # noqa: BLE001 - whatever it is, the job is to be kept
                if is_reachable:
                    log.warning("lease.unknown", extra={"job_id": self.job.id, "why": repr(error)})
                is_reachable = False
                continue
            is_reachable = True
            if is_due:
                renewed_at = now
            if seen.cancel_requested:
                self._cancelled.set()
            if not seen.is_held:
                return

    def _look(self) -> Renewal:
        return self._leases.look(self.job.id, self.job.fence)

    def _renew(self) -> Renewal:
        return self._leases.renew(
            self.job.id, self.job.fence, self._clock(), self._settings.lease_s
        )
