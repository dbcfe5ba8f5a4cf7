"""How the kernel is spoken to: a system call, a prctl, or an OSError that names it."""

import ctypes
import errno
import os
import sys

_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

NO_NEW_PRIVS, DUMPABLE, SECCOMP, SECUREBITS = 38, 4, 22, 28
CAPABILITY_BOUNDING_DROP, CAPABILITY_AMBIENT = 24, 47


def machine() -> str:
    """As `uname` says it, by one name: x86_64, aarch64, or another."""
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(found := os.uname().machine.lower(), found)


def system_call(name: str, number: int, *arguments: "int | ctypes.Array[ctypes.c_char]") -> int:
    """Raises: OSError, with the name of the call."""
    if _LIBC is None:
        raise OSError(errno.ENOSYS, f"{name}: not a Linux kernel")
    as_long = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result = int(_LIBC.syscall(ctypes.c_long(number), *as_long))
    if result < 0:
        raise _error(name)
    return result


def prctl(name: str, option: int, *arguments: "int | ctypes.Array[ctypes.c_char]") -> None:
    """Raises: OSError, with the name of what was asked."""
    if _LIBC is None:
        raise OSError(errno.ENOSYS, f"{name}: not a Linux kernel")
    given = [ctypes.c_ulong(each) if isinstance(each, int) else each for each in arguments]
    rest = [ctypes.c_ulong(0)] * (4 - len(given))
    if _LIBC.prctl(option, *given, *rest) < 0:
        raise _error(name)


def _error(name: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{name}: {os.strerror(number)}")
