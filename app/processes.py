"""How processes of this Python are started, and what one asks of the kernel for itself.

The kernel watches the *thread* that started the child, so that thread has to live as long as the
child is wanted. Linux only; elsewhere a killed parent leaves its children to be stopped by hand.
"""

import ctypes
import os
import re
import signal
import sys
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NO_NEW_PRIVS = 38
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
# What a program names that is to map its libraries.
LOADER = re.compile(rb"/[^\0]*/ld[-.][^\0]*")
# The edition of the C library whose loader can tell a program another name than its file's.
NAMES_PROGRAMS = (2, 33)


def python_without_proc() -> tuple[str, ...]:
    """What starts this Python where TensorFlow may not read /proc: in the box.

    TensorFlow aborts without /proc/self/cmdline where the file that the kernel started, which
    /proc/self/exe names, is called something with `python`. Here it is the loader.
    """
    loader = loader_of(sys.executable)
    if loader is None:
        return (sys.executable,)
    if _edition_of_libc() < NAMES_PROGRAMS:
        return (loader, sys.executable)
    return (loader, "--argv0", sys.executable, os.path.realpath(sys.executable))


def loader_of(program: str) -> str | None:
    """The loader that a program names in its first bytes; None for one that needs none."""
    with Path(program).open("rb") as file:
        named = LOADER.search(file.read(4096))
    return os.fsdecode(named[0]) if named else None


def _edition_of_libc() -> tuple[int, ...]:
    try:
        said = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (OSError, ValueError):  # another library
        return ()
    return tuple(int(part) for part in re.findall(r"\d+", said)[:2])


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
