"""What a process asks of the kernel for itself: to go with its parent, to keep to itself.

The kernel watches the *thread* that started the child, so that thread has to live as long as the
child is wanted. Linux only; elsewhere a killed parent leaves its children to be stopped by hand.
"""

import ctypes
import os
import signal
import sys
from contextlib import suppress

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NO_NEW_PRIVS = 38
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(parent_pid: int, signal_number: signal.Signals) -> None:
    """Called in the child: from now on the death of `parent_pid` sends `signal_number`.

    Safe between fork and exec of a parent with one thread: nothing is imported or locked. In the
    box it is not to be had: what is started there ends with its session, which none can leave.
    """
    with suppress(PermissionError):
        _prctl(PR_SET_PDEATHSIG, int(signal_number))
    # The parent may have gone before the call: then nobody would send the signal.
    if os.getppid() != parent_pid:
        os._exit(128 + signal_number)


def gain_no_privileges() -> None:
    """For good, and for all it starts: a set-user-id program runs with the rights at hand."""
    _prctl(PR_SET_NO_NEW_PRIVS, 1)


def keep_memory_private() -> None:
    """No debugger of the same user looks inside, and no core is dumped; until the next exec.

    In the box it is not to be had: others in boxes see into none, and the worker has to.
    """
    with suppress(PermissionError):
        _prctl(PR_SET_DUMPABLE, 0)


def _prctl(option: int, value: int) -> None:
    if _LIBC is None:
        return
    if _LIBC.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}, {value}) failed")
