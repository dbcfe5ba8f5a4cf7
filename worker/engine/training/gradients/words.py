"""What processes that train together say to each other beside gradients: words of one byte."""

import os
import select
from dataclasses import dataclass

# From the others: ready, or done with what was last asked for.
DONE = b"d"
# From the one that leads: go on; go on and leave your state on disk; it is over.
GO = b"g"
SAVE = b"s"
FINISH = b"f"


@dataclass(frozen=True)
class Pipes:
    """File descriptors of two pipes."""

    reading: int
    writing: int

    def say(self, word: bytes) -> None:
        """Raises: BrokenPipeError if nobody listens any more."""
        os.write(self.writing, word)

    def hear(self, within_s: float | None = None) -> bytes:
        """The next word; empty if none came within the time.

        Raises: EOFError if the other process is gone.
        """
        ready, _, _ = select.select([self.reading], [], [], within_s)
        if not ready:
            return b""
        word = os.read(self.reading, 1)
        if not word:
            raise EOFError("the other process is gone")
        return word
