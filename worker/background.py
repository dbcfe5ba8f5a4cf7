"""Work in a thread of its own, for as long as a `with` block."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self


class Background:
    """Begins `work` with the block; at its end sets `done`, which it heeds, and waits for it."""

    def __init__(self, work: Callable[[], None], name: str) -> None:
        self.done = threading.Event()
        self._thread = threading.Thread(target=work, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()

    def end(self) -> None:
        """At once, or again: nothing more is done afterwards."""
        self.done.set()
        self._thread.join()
