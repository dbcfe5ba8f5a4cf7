"""How far a job is: phases with weights, one number that only grows, and the cancel flag."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from app.errors import Cancelled, PenjingError
from worker.engine.order import Event

Emit = Callable[[Event], None]
Clock = Callable[[], float]

LEAST_SECONDS_BETWEEN = 0.2


class Progress:
    """The phases of one job in order, each with its share of the whole.

    `weights`: phase -> weight in any unit, in the order in which they run.
    """

    def __init__(
        self,
        emit: Emit,
        cancel_flag: Path,
        weights: Mapping[str, float],
        clock: Clock = time.monotonic,
    ) -> None:
        total = sum(weights.values())
        before = 0.0
        self._spans: dict[str, tuple[float, float]] = {}
        for phase, weight in weights.items():
            self._spans[phase] = (before / total, weight / total)
            before += weight
        self._emit = emit
        self._cancel_flag = cancel_flag
        self._clock = clock
        self._phase = ""
        self._reached = 0.0
        self._emitted_at = -LEAST_SECONDS_BETWEEN

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Run one phase; an error that leaves it says where it happened."""
        self._phase = name
        try:
            self.check_cancelled()
            self._reach(0.0)
            self._emit(Event(event="phase", phase=name, progress=self._reached))
            yield
            self._reach(1.0)
        except PenjingError as error:
            error.at_stage(name)
            raise

    def report(self, fraction: float, message: str, **metrics: float) -> None:
        """Progress inside the phase, in [0, 1]; passed on a few times a second."""
        self._reach(fraction)
        now = self._clock()
        if now - self._emitted_at < LEAST_SECONDS_BETWEEN:
            return
        self._emitted_at = now
        self._emit(
            Event(
                event="metrics" if metrics else "progress",
                phase=self._phase,
                progress=self._reached,
                message=message,
                data=dict(metrics) or None,
            )
        )

    def tell(self, event: Event) -> None:
        """Pass on an event that must not be lost among the many."""
        self._emit(event.model_copy(update={"phase": self._phase, "progress": self._reached}))

    def check_cancelled(self) -> None:
        """Raises: Cancelled once the job is to stop."""
        if self._cancel_flag.exists():
            raise Cancelled("the job was asked to stop").at_stage(self._phase)

    def _reach(self, fraction: float) -> None:
        start, share = self._spans[self._phase]
        self._reached = max(self._reached, start + share * min(1.0, max(0.0, fraction)))


def never_cancelled() -> None:
    """Of work that nobody can cancel."""
