"""How fast a child may talk: more is held back, which costs nobody else time."""

import time
from collections.abc import Callable


class TokenBucket:
    """A bucket of bytes that fills as time goes by; who takes more than is in it has to wait."""

    def __init__(
        self, bytes_per_s: float, burst_bytes: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.bytes_per_s = bytes_per_s
        self._burst_bytes = burst_bytes
        self._left = burst_bytes
        self._clock = clock
        self._filled_at = clock()
        self.held_back_s = 0.0

    def take(self, count: int) -> float:
        """Take so many bytes. Returns: seconds to wait before the next."""
        now = self._clock()
        filled = self._left + (now - self._filled_at) * self.bytes_per_s
        self._left = min(self._burst_bytes, filled) - count
        self._filled_at = now
        wait_s = max(0.0, -self._left / self.bytes_per_s)
        self.held_back_s += wait_s
        return wait_s
