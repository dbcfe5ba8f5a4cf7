"""Finds the jobs that nobody keeps, and says that this worker lives."""

import logging
import threading

from worker.workshop import Workshop, sweep_folders

log = logging.getLogger(__name__)


class Reaper:
    """Now and then: requeue or end lost jobs, send unheard ids again, clear up after the dead."""

    def __init__(self, workshop: Workshop) -> None:
        self._shop = workshop
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reaper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._done.set()
        self._thread.join()
        self._shop.presence.leave(self._shop.name)

    def look_around(self) -> None:
        """One round."""
        shop, now = self._shop, self._shop.clock()
        shop.presence.beat(shop.name, now)
        reaped = shop.leases.reap(now, shop.settings.max_attempts)
        if reaped.requeued or reaped.ended:
            log.warning("jobs.reaped", extra={"requeued": reaped.requeued, "ended": reaped.ended})
        sweep_folders(shop.folder.parent)
        for job_id in shop.leases.unheard(now, shop.settings.resend_s):
            shop.send(job_id)

    def _run(self) -> None:
        while True:
            try:
                self.look_around()
            except Exception as error:  # noqa: BLE001 - database or broker away: try again later
                log.warning("reaper.failed", extra={"why": repr(error)})
            if self._done.wait(self._shop.settings.reap_s):
                return
