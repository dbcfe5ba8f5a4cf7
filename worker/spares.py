"""Children that have imported TensorFlow before their job arrives."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from worker.children import Child
from worker.cores import Cores
from worker.launching import Launcher


@dataclass
class Place:
    """Where one job at a time is done, on cores of its own."""

    cores: Cores
    is_taken: bool = False
    waiting: Child | None = None


class Spares:
    """A place for each job that the worker runs at a time, with a warm child or none.

    A spare that was taken is replaced when its job has ended, not before: importing TensorFlow
    takes seconds of every core and would disturb the job's own latency figures.
    """

    def __init__(self, launcher: Launcher, shares: Sequence[Cores], *, are_warm: bool) -> None:
        self._launcher = launcher
        self._places = [Place(cores) for cores in shares]
        self._are_warm = are_warm
        self._lock = threading.Lock()
        self._is_closed = False

    def take(self) -> tuple[Child, Place]:
        """A warm child, or one that still has to import; `give_back` its place."""
        with self._lock:
            free = [place for place in self._places if not place.is_taken]
            place = max(free, key=_has_living_spare, default=Place(self._places[0].cores))
            place.is_taken = True
            child, place.waiting = place.waiting, None
        if child is not None:
            if child.is_alive():
                return child, place
            child.end()
        try:
            return self._launcher.start(place.cores), place
        except OSError:
            place.is_taken = False
            raise

    def give_back(self, place: Place) -> None:
        place.is_taken = False

    def begin(self) -> None:
        self._launcher.begin()
        self.refill()

    def refill(self) -> None:
        if not self._are_warm:
            return
        with self._lock:
            for place in self._places:
                if not (self._is_closed or place.is_taken or place.waiting):
                    place.waiting = self._launcher.start(place.cores)

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            for place in self._places:
                if place.waiting:
                    place.waiting.end()
                place.waiting = None
        self._launcher.close()


def _has_living_spare(place: Place) -> bool:
    return place.waiting is not None and place.waiting.is_alive()
