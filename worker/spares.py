"""Children that have imported TensorFlow before their job arrives."""

import threading
from collections import deque

from worker.children import Child
from worker.launching import Launcher


class Spares:
    """As many warm children as the worker runs jobs at a time, or none.

    A spare that was taken is replaced when its job has ended, not before: importing TensorFlow
    takes seconds of every core and would disturb the job's own latency figures.
    """

    def __init__(self, launcher: Launcher, count: int) -> None:
        self._launcher = launcher
        self._count = count
        self._waiting: deque[Child] = deque()
        self._lock = threading.Lock()
        self._is_closed = False

    def take(self) -> Child:
        """A warm child, or one that still has to import."""
        with self._lock:
            while self._waiting:
                child = self._waiting.popleft()
                if child.is_alive():
                    return child
                child.kill()
        return self._launcher.start()

    def refill(self) -> None:
        with self._lock:
            while not self._is_closed and len(self._waiting) < self._count:
                self._waiting.append(self._launcher.start())

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            while self._waiting:
                self._waiting.popleft().kill()
