"""Users and capabilities: what is left of root, which is nothing."""

import errno
import os
import struct
from contextlib import suppress
from ctypes import create_string_buffer
from enum import IntEnum
from pathlib import Path

from worker.kernel.calls import (
    CAPABILITY_AMBIENT,
    CAPABILITY_BOUNDING_DROP,
    SECUREBITS,
    machine,
    prctl,
    system_call,
)

# SECBIT_*: neither root's id nor a change of ids gives any, none becomes ambient; all locked.
NO_ROOT_LOCKED = 0b11101111
AMBIENT_CLEAR_ALL = 4
CAPSET = {"x86_64": 126, "aarch64": 91}
VERSION_3 = 0x20080522
LAST_CAPABILITY = Path("/proc/sys/kernel/cap_last_cap")
STATUS = Path("/proc/self/status")


class Capability(IntEnum):
    CHOWN = 0
    DAC_OVERRIDE = 1
    FOWNER = 3
    KILL = 5
    SETGID = 6
    SETUID = 7
    SETPCAP = 8


def effective() -> int:
    """The capabilities at hand, one a bit."""
    lines = STATUS.read_text().splitlines()
    return int(next(line for line in lines if line.startswith("CapEff:")).split()[1], 16)


def has(*wanted: Capability) -> bool:
    held = effective()
    return all(held >> each & 1 for each in wanted)


def forbid() -> None:
    """No program that this process starts has any capability, whoever runs it."""
    if not has(Capability.SETPCAP):
        return  # not root: there is nothing to bring back, and NO_NEW_PRIVS keeps it so
    for each in range(int(LAST_CAPABILITY.read_text()) + 1):
        prctl("prctl(PR_CAPBSET_DROP)", CAPABILITY_BOUNDING_DROP, each)
    prctl("prctl(PR_SET_SECUREBITS)", SECUREBITS, NO_ROOT_LOCKED)


def become(user: int) -> None:
    """This user and the group of the same number, no other groups, no way back."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def drop() -> None:
    """Whatever this process itself still has.

    Raises: OSError where the machine is not known.
    """
    # A kernel before 4.3 has no ambient capabilities to clear.
    with suppress(OSError):
        prctl("prctl(PR_CAP_AMBIENT)", CAPABILITY_AMBIENT, AMBIENT_CLEAR_ALL)
    number = CAPSET.get(machine())
    if number is None:
        raise OSError(errno.ENOSYS, f"capset: not known on {machine()}")
    header = create_string_buffer(struct.pack("=Ii", VERSION_3, 0), 8)
    none = create_string_buffer(bytes(24), 24)
    system_call("capset", number, header, none)
