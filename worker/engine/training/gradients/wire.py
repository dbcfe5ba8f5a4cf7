"""Memory that the processes of a training share: what each says in a step."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# Of each process in each step: the step's number and the loss of its part.
HEAD_BYTES = 16


class Wire:
    """Two pages in turn, so that one process may write while another still reads the step before.

    A page holds the steps, int64, [workers]; the losses, float64, [workers]; the coded gradients,
    uint8, [workers, message_bytes]. The file is mapped, so that nothing is copied on the way.

    `written_bytes` and `read_bytes` are what went through this end of it; the latter of others.
    """

    def __init__(self, path: Path, workers: int, message_bytes: int, *, is_new: bool) -> None:
        page_bytes = workers * (HEAD_BYTES + message_bytes)
        # Rounded up, so that numbers lie where they can be read at once.
        shape = (2, -(-page_bytes // 64) * 64)
        memory = np.memmap(path, np.uint8, "w+" if is_new else "r+", shape=shape)
        self.written_bytes = self.read_bytes = 0
        ends = (8 * workers, HEAD_BYTES * workers, page_bytes)
        self._steps = [page[: ends[0]].view(np.int64) for page in memory]
        self._losses = [page[ends[0] : ends[1]].view(np.float64) for page in memory]
        self._messages = [
            page[ends[1] : ends[2]].reshape(workers, message_bytes) for page in memory
        ]
        if is_new:
            for steps in self._steps:
                steps[:] = -1

    def write(self, step: int, rank: int, loss: float, message: Array) -> None:
        """Say one's part of a step."""
        page = step % 2
        self._messages[page][rank] = message
        self._losses[page][rank] = loss
        self._steps[page][rank] = step
        self.written_bytes += message.nbytes + HEAD_BYTES

    def messages(self, step: int) -> Array:
        return self._read(self._messages[step % 2])

    def losses(self, step: int) -> Array:
        return self._read(self._losses[step % 2])

    def behind(self, step: int) -> list[int]:
        """Processes that have not said their part of this step."""
        said = self._read(self._steps[step % 2])
        return [int(rank) for rank in np.flatnonzero(said != step)]

    def _read(self, of_each: Array) -> Array:
        """What all said; one's own part of it came over no wire."""
        self.read_bytes += of_each[1:].nbytes
        return of_each
