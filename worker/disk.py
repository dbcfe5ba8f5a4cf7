"""The disk that job folders are on, which all jobs of a worker share."""

import os
import threading
from pathlib import Path


class Disk:
    """Knows what each running job holds, and who is to go when too little is left for others."""

    def __init__(self, folder: Path, reserve_bytes: int) -> None:
        self._folder = folder
        self._reserve_bytes = reserve_bytes
        self._held: dict[Path, int] = {}
        self._lock = threading.Lock()

    def note(self, job: Path, held_bytes: int) -> None:
        with self._lock:
            self._held[job] = held_bytes

    def forget(self, job: Path) -> None:
        with self._lock:
            self._held.pop(job, None)

    def has_to_go(self, job: Path) -> bool:
        """Whether this job holds most, and the reserve would be there without it.

        Where something else has filled the disk, ending jobs mends nothing.
        """
        lacking = self._reserve_bytes - self._free_bytes()
        if lacking <= 0:
            return False
        with self._lock:
            largest = max(self._held, key=self._held.__getitem__, default=None)
            return job == largest and self._held[job] >= lacking

    def _free_bytes(self) -> int:
        found = os.statvfs(self._folder)
        return found.f_bavail * found.f_frsize
