"""Sessions of children, written down: what a dead worker's child left running, another one ends.

The child itself goes with its worker (PR_SET_PDEATHSIG); what it had forked does not.
"""

import json
import re
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from worker.session_usage import PROCESSES, kill_session, started_at, use_of_session

BOOT = Path("/proc/sys/kernel/random/boot_id")
NUMBERS = Path("/proc/self/ns/pid")
# What the box leaves on every process, and none can take off.
BOXED = (re.compile(rb"\nNoNewPrivs:\t1\n"), re.compile(rb"\nSeccomp:\t2\n"))
DYING_S, POLL_S = 5.0, 0.02


@dataclass(frozen=True)
class Session:
    """Whose numbers are those of one place: a running kernel, or a container in it.

    Attributes:
        leader: the child, whose number the session has.
        started: when it began, in the kernel's ticks: a number may be another's later.
    """

    leader: int
    started: int
    place: str

    @classmethod
    def of(cls, leader: int) -> Self | None:
        """None where it is dead already."""
        started = started_at(leader)
        return None if started is None else cls(leader, started, this_place())

    @classmethod
    def read(cls, path: Path) -> Self | None:
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    def end(self) -> None:
        """Kill what is left of it, and wait until that is dead."""
        if self.place != this_place() or not self._is_left():
            return
        kill_session(self.leader)
        deadline = time.monotonic() + DYING_S
        while use_of_session(self.leader).resident_bytes and time.monotonic() < deadline:
            time.sleep(POLL_S)

    def _is_left(self) -> bool:
        """Whether the session of this number is the one that was written down.

        A number is not given out again while a session has it. One whose leader is gone may be
        a later one all the same, if ours had ended before: then it is in no box.
        """
        leader = started_at(self.leader)
        if leader is not None:
            return leader == self.started
        pids = use_of_session(self.leader).pids
        return bool(pids) and all(_is_boxed(pid) for pid in pids)


def this_place() -> str:
    """Where the numbers of processes mean what they mean here."""
    with suppress(OSError):
        return f"{BOOT.read_text().strip()} {NUMBERS.readlink()} {started_at(1)}"
    return ""


def _is_boxed(pid: int) -> bool:
    try:
        status = (PROCESSES / f"{pid}/status").read_bytes()
    except OSError:
        return True  # it has ended since, and is none of those that count
    return all(mark.search(status) for mark in BOXED)
