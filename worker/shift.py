"""The life of one worker process: opened, ready, told to stop, closed. Follows Celery's signals."""

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from celery.signals import celeryd_init, setup_logging, worker_init, worker_ready, worker_shutdown
from celery.worker import state

from app.jobs.presence import Standing
from app.jobs.queue import QUEUE
from app.logs import configure_logging
from app.settings import Settings
from worker.launching import Launcher
from worker.limits import Limits
from worker.reaper import Reaper
from worker.selftest import self_test
from worker.workshop import Examine, Workshop, open_workshop

log = logging.getLogger(__name__)


class Shift:
    """Holds the workshop between the first signal and the last."""

    def __init__(
        self,
        settings: Settings,
        launcher_of: Callable[[Limits, Path], Launcher],
        examine: Examine = self_test,
    ) -> None:
        self.settings = settings
        self.launcher_of = launcher_of
        self.examine = examine
        self._workshop: Workshop | None = None
        self._reaper: Reaper | None = None

    @property
    def workshop(self) -> Workshop:
        if self._workshop is None:
            raise RuntimeError("no job can run before Celery's worker_init signal")
        return self._workshop

    def follow_signals(self) -> None:
        """Celery holds receivers weakly, so the shift has to be kept by its module."""
        # Celery warns of root before it sets up its logging.
        celeryd_init.connect(self.log)
        setup_logging.connect(self.log)
        worker_init.connect(self.open)
        worker_ready.connect(self.begin)
        worker_shutdown.connect(self.close)

    def log(self, **_: Any) -> None:
        configure_logging()

    def open(self, **_: Any) -> None:
        with or_end():
            self._workshop = open_workshop(self.settings, self.launcher_of, self.examine)
            self._reaper = Reaper(self._workshop)

    def begin(self, sender: Any = None, **_: Any) -> None:
        with or_end():
            self._begin(sender)

    def _begin(self, sender: Any) -> None:
        if self.workshop.standing is not Standing.TAKES_NONE:
            self.workshop.spares.begin()
        elif sender is not None:
            # Celery's consumer: what it leaves in the queue is for a worker that has a box.
            sender.cancel_task_queue(QUEUE)
        if self._reaper:
            self._reaper.start()
        # In place of Celery's own: its thread pool cannot cancel, so that SIGQUIT would wait for
        # the end of the job, however long that is.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, self.told_to_stop)

    def told_to_stop(self, number: int, _: FrameType | None) -> None:
        """Finish within the grace or hand back; at once when told twice, or by SIGQUIT."""
        self.workshop.closing.begin(at_once=number == signal.SIGQUIT)
        state.should_stop = 0

    def close(self, **_: Any) -> None:
        try:
            if self._reaper:
                self._reaper.stop()
        finally:
            if self._workshop:
                self._workshop.close()


@contextmanager
def or_end() -> Iterator[None]:
    """Celery logs what a receiver raises and goes on: as a worker that is up and does no job.

    Ended, it is started again by whoever started it, such as after a database that came up late.
    """
    try:
        yield
    except Exception as error:
        log.exception("worker.unfit")
        raise SystemExit(1) from error
