"""The life of one worker process: opened, ready, told to stop, closed. Follows Celery's signals."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from celery.signals import (
    setup_logging,
    worker_init,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)

from app.logs import configure_logging
from app.settings import Settings
from worker.box import Launcher
from worker.limits import Limits
from worker.reaper import Reaper
from worker.workshop import Workshop, open_workshop


class Shift:
    """Holds the workshop between the first signal and the last."""

    def __init__(self, settings: Settings, launcher_of: Callable[[Limits, Path], Launcher]) -> None:
        self.settings = settings
        self.launcher_of = launcher_of
        self._workshop: Workshop | None = None
        self._reaper: Reaper | None = None

    @property
    def workshop(self) -> Workshop:
        if self._workshop is None:
            raise RuntimeError("no job can run before Celery's worker_init signal")
        return self._workshop

    def follow_signals(self) -> None:
        """Celery holds receivers weakly, so the shift has to be kept by its module."""
        setup_logging.connect(self.log)
        worker_init.connect(self.open)
        worker_ready.connect(self.begin)
        worker_shutting_down.connect(self.closing)
        worker_shutdown.connect(self.close)

    def log(self, **_: Any) -> None:
        configure_logging()

    def open(self, **_: Any) -> None:
        self._workshop = open_workshop(self.settings, self.launcher_of)
        self._reaper = Reaper(self._workshop)

    def begin(self, **_: Any) -> None:
        self.workshop.spares.refill()
        if self._reaper:
            self._reaper.start()

    def closing(self, **_: Any) -> None:
        self.workshop.closing.begin()

    def close(self, **_: Any) -> None:
        if self._reaper:
            self._reaper.stop()
        self.workshop.close()
