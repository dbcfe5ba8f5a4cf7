"""The box's change of user: to one that nobody else has, where there is one that gets through."""

import os
import resource
import sys
from collections.abc import Mapping
from contextlib import suppress

from app.confinement import BoxOrder
from worker.kernel import capabilities, limits
from worker.kernel.capabilities import Capability

# Users that systemd, too, hands out for a while: nobody's files belong to them.
FIRST_USER, USERS = 61184, 4336
# For the box, and for its starter: it ends what runs under another user, and reads its files.
TO_CHANGE_USER = (
    *(Capability.SETUID, Capability.SETGID, Capability.CHOWN),
    *(Capability.KILL, Capability.DAC_OVERRIDE, Capability.FOWNER),
)
# Under a user that others share, these count, too, and what they start later.
SHARED_ALLOWANCE = 4
UNCOUNTED = "processes are counted by the worker's watch alone (RLIMIT_NPROC does not hold root)"


def change_user(order: BoxOrder) -> tuple[str, str, tuple[str, ...]]:
    """A user of its own where root started it and that user can reach what the program needs.

    Returns whose number it has, what was closed to a user of its own, and what is lacking so.

    Without one, no capability either way: root's number alone opens only what root owns, and of
    that only what the steps to come leave.
    """
    tasks, taken = order.confinement.tasks, limits.tasks_by_user()
    user, closed = _own_user(order, taken)
    if user is None:
        shared = os.getuid()
        limits.limit(resource.RLIMIT_NPROC, taken[shared] + SHARED_ALLOWANCE * tasks)
        capabilities.forbid()
        capabilities.drop()
        return ("shared", closed, ()) if shared else ("root", closed, (UNCOUNTED,))
    for folder in order.confinement.writable:
        os.chown(folder, user, user, follow_symlinks=False)
    limits.limit(resource.RLIMIT_NPROC, tasks)
    capabilities.forbid()
    capabilities.become(user)
    capabilities.drop()
    return "own", "", ()


def _own_user(order: BoxOrder, taken: Mapping[int, int]) -> tuple[int | None, str]:
    """One whom nothing belongs to, if root may become it; else what is closed to it, if that is."""
    if os.getuid() != 0 or not capabilities.has(*TO_CHANGE_USER):
        return None, ""
    candidates = (FIRST_USER + (os.getpid() + each) % USERS for each in range(USERS))
    user = next((each for each in candidates if each not in taken), None)
    closed = _closed_to(user, order) if user is not None else ""
    return None if closed else user, closed


def _closed_to(user: int, order: BoxOrder) -> str:
    """Tried, not deduced: by a process that becomes the user and opens everything."""
    read = (sys.executable, os.__file__, *order.libraries, *order.confinement.readable)
    # Folders to write in are the user's by then, and those that lead to them are not.
    needed = [*((path, os.O_RDONLY) for path in read)]
    needed += ((path, os.O_PATH) for path in order.confinement.writable)
    child = os.fork()
    if child == 0:
        os._exit(_opened_by(user, needed))
    _, status = os.waitpid(child, 0)
    opened = os.waitstatus_to_exitcode(status)
    return "" if opened == len(needed) else needed[max(opened, 0)][0]


def _opened_by(user: int, needed: list[tuple[str, int]]) -> int:
    """How many, up to the first that is closed."""
    opened = 0
    with suppress(OSError):
        capabilities.become(user)
        for path, how in needed:
            os.close(os.open(path, how))
            opened += 1
    return opened
