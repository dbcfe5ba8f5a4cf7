"""Finds the jobs that nobody keeps, and says that this worker lives."""

import logging
import math
import threading
import time
from datetime import datetime

from sqlalchemy.exc import SQLAlchemyError

from app.jobs.presence import Standing
from worker.checkpoints import sweep_checkpoints
from worker.locked_folder import sweep_folders
from worker.workshop import Workshop

log = logging.getLogger(__name__)


class Reaper:
    """Now and then: requeue or end lost jobs, send unheard ids again, clear up after the dead."""

    def __init__(self, workshop: Workshop) -> None:
        self._shop = workshop
        self._done = threading.Event()
        self._lenient_until = -math.inf
        self._thread = threading.Thread(target=self._run, name="reaper", daemon=True)

    @property
    def is_lenient(self) -> bool:
        """Whether leases may have ended only because the database was away."""
        return time.monotonic() < self._lenient_until

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Whether it was started or not."""
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()
        try:
            self._shop.presence.leave(self._shop.name)
        except SQLAlchemyError as error:
            log.warning("presence.unknown", extra={"why": repr(error)})  # it ends by itself

    def look_around(self) -> None:
        """One round."""
        shop, now = self._shop, self._shop.clock()
        shop.presence.beat(shop.name, now, shop.standing, shop.box)
        if shop.standing is not Standing.CONFINED:
            log.error("box.missing", extra={"jobs": shop.standing})
        if not self.is_lenient:
            self._reap(now)
        sweep_folders(shop.folder.parent)
        sweep_checkpoints(shop)
        for job_id in shop.leases.unheard(now, shop.settings.resend_s):
            shop.send(job_id)

    def _reap(self, now: datetime) -> None:
        reaped = self._shop.leases.reap(now, self._shop.settings.max_attempts)
        if reaped.requeued or reaped.ended:
            log.warning("jobs.reaped", extra={"requeued": reaped.requeued, "ended": reaped.ended})
        for tenant_id in reaped.relieved:
            if job_id := self._shop.leases.held_back(tenant_id, now):
                self._shop.send(job_id)

    def _run(self) -> None:
        while True:
            try:
                self.look_around()
            except SQLAlchemyError as error:
                log.warning("reaper.failed", extra={"why": repr(error)})
                # Living workers could not renew either; they get the time to do it.
                self._lenient_until = time.monotonic() + self._shop.settings.lease_s
            except Exception as error:  # noqa: BLE001 - the broker is away: try again later
                log.warning("reaper.failed", extra={"why": repr(error)})
            if self._done.wait(self._shop.settings.reap_s):
                return
