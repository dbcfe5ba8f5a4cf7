"""The disk that job folders are on, which all jobs of a worker share.

What a job holds may be out of sight: a file without a name that no look finds open. But the disk
tells what is taken of it. Less what all jobs are seen to hold, that is what others took; by how
much this has grown since it was last known why, a job that cannot be seen through may be hiding.
"""

import os
import threading
from dataclasses import dataclass, replace
from pathlib import Path

from worker.disk_usage import DiskUsage


@dataclass(frozen=True)
class SpaceTaken:
    """Of a file system: bytes and files."""

    bytes: int
    files: int

    def __sub__(self, other: "SpaceTaken") -> "SpaceTaken":
        return SpaceTaken(self.bytes - other.bytes, self.files - other.files)

    def least(self, other: "SpaceTaken") -> "SpaceTaken":
        return SpaceTaken(min(self.bytes, other.bytes), min(self.files, other.files))


@dataclass(frozen=True)
class Holder:
    """A job, as it was noted last.

    Attributes:
        by_others: taken of the disk and seen to be held by no job, when it was last known why.
    """

    held: DiskUsage
    by_others: SpaceTaken


class Disk:
    """Knows what each running job holds, and who is to go when too little is left for others.

    Of each job: `note` after each look, the first as it starts; `clear` behind the `note` of a look
    that saw everything; `forget` when it is over.
    """

    def __init__(self, folder: Path, reserve_bytes: int) -> None:
        self._folder = folder
        self._reserve_bytes = reserve_bytes
        self._jobs: dict[Path, Holder] = {}
        self._lock = threading.Lock()

    def note(self, job: Path, held: DiskUsage) -> SpaceTaken:
        """What the job is seen to hold, measured just before.

        Returns: what the disk lost without a job that is seen to hold it, since this job's first
        `note` or last `clear`: this one may have it, or another. Of a first `note`: nothing.
        """
        with self._lock:
            before = self._jobs.get(job)
            self._jobs[job] = Holder(held, SpaceTaken(0, 0))
            now = self._taken_by_others()
            known = before.by_others.least(now) if before else now
            self._jobs[job] = Holder(held, known)
            return now - known

    def clear(self, job: Path) -> None:
        """Hold what was lost so far against this job no more: all that it holds was seen.

        Its `note` comes before, for the same look: what is seen by then is not the others'.
        """
        with self._lock:
            self._jobs[job] = replace(self._jobs[job], by_others=self._taken_by_others())

    def forget(self, job: Path) -> None:
        """It is over; it may never have been noted."""
        with self._lock:
            self._jobs.pop(job, None)

    def is_short(self) -> bool:
        return self._lacking_bytes() > 0

    def has_to_go(self, job: Path) -> bool:
        """Whether this job holds most, and the reserve would be there without it.

        One that cannot be seen through may hold what nobody else does. Where something else has
        filled the disk, ending jobs mends nothing.
        """
        lacking = self._lacking_bytes()
        if lacking <= 0:
            return False
        with self._lock:
            others = self._taken_by_others()
            weights = {name: _weight(holder, others) for name, holder in self._jobs.items()}
        largest = max(weights, key=weights.__getitem__, default=None)
        return job == largest and weights[job] >= lacking

    def _taken_by_others(self) -> SpaceTaken:
        held = [holder.held for holder in self._jobs.values()]
        seen = SpaceTaken(sum(each.bytes for each in held), sum(each.files for each in held))
        return self._taken() - seen

    def _lacking_bytes(self) -> int:
        return self._reserve_bytes - self._free_bytes()

    def _taken(self) -> SpaceTaken:
        found = os.statvfs(self._folder)
        return SpaceTaken(
            (found.f_blocks - found.f_bfree) * found.f_frsize, found.f_files - found.f_ffree
        )

    def _free_bytes(self) -> int:
        found = os.statvfs(self._folder)
        return found.f_bavail * found.f_frsize


def _weight(holder: Holder, others: SpaceTaken) -> int:
    hidden = 0 if holder.held.is_all else max((others - holder.by_others).bytes, 0)
    return holder.held.bytes + hidden
