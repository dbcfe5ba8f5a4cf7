"""The filter of system calls: which the kernel still does for this process, and for all it starts.

Written in the kernel's own small machine language (classic BPF): one accumulator, jumps forward
only. https://docs.kernel.org/userspace-api/seccomp_filter.html
"""

import errno
import struct
from ctypes import addressof, create_string_buffer
from dataclasses import dataclass

from worker.kernel.calls import SECCOMP, prctl
from worker.kernel.system_calls import (
    ARCHITECTURES,
    AUDIT_ARCHITECTURES,
    DENIED,
    NEWEST_KNOWN,
    PRETENDED,
    STARTING,
    UNKNOWN,
    UNSUPPORTED,
    WATCHED,
    X32_BIT,
    Numbers,
)

MODE_FILTER = 2

# SECCOMP_RET_*: the strongest comes first.
KILL = 0x80000000
ALLOW = 0x7FFF0000
_FAIL = 0x00050000

# BPF_LD | BPF_W | BPF_ABS, BPF_JMP | BPF_{JEQ,JGT,JGE,JSET} | BPF_K, BPF_ALU | BPF_AND, BPF_RET.
LOAD, IF_EQUAL, IF_ABOVE, IF_FROM, IF_ANY_BIT, AND, RETURN = (
    0x20,
    0x15,
    0x25,
    0x35,
    0x45,
    0x54,
    0x06,
)

# struct seccomp_data: number, architecture, instruction pointer, six arguments of 64 bits.
NUMBER_AT, ARCHITECTURE_AT, ARGUMENTS_AT = 0, 4, 16

# CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}; CLONE_PARENT would make the worker its parent.
NAMESPACES_AND_PARENT = 0x7E020000 | 0x8000
# CLONE_THREAD; without CLONE_FILES it has open files of its own, which nobody looks for.
THREAD, THREAD_OR_FILES = 0x10000, 0x10400
# Whether it is a terminal and how wide (libraries ask before they print), how much waits to be
# read, and what `fcntl` does as well.
HARMLESS_IOCTLS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
# F_DUPFD, F_{GET,SET}{FD,FL}, F_DUPFD_CLOEXEC, F_GETPIPE_SZ. Of the others some send signals to
# processes, have others wait who open the same file, or keep kernel memory that nobody counts.
HARMLESS_FCNTLS = (0, 1, 2, 3, 4, 1030, 1032)
# MAP_SHARED | MAP_ANONYMOUS: memory that RLIMIT_DATA does not count.
UNCOUNTED_MEMORY = 0x21
# MAP_GROWSDOWN: nor what grows as a stack does; those of threads do not. MAP_HUGETLB: nobody's
# memory, set aside by the host for somebody else.
OTHERS_MEMORY = 0x100 | 0x40000
CLOSE_RANGE_UNSHARE = 2
# PR_GET_{PDEATHSIG,DUMPABLE}, PR_{SET,GET}_NAME, PR_GET_SECCOMP, PR_CAPBSET_READ,
# PR_GET_SECUREBITS, PR_{SET,GET}_TIMERSLACK, PR_{SET,GET}_NO_NEW_PRIVS, PR_GET_THP_DISABLE,
# PR_{SVE,SME}_GET_VL. Of the others some undo the box, one keeps the worker from seeing what a job
# has open (PR_SET_DUMPABLE), one has other processes wait for a core (PR_SCHED_CORE).
HARMLESS_PRCTLS = (2, 3, 15, 16, 21, 23, 27, 29, 30, 38, 39, 42, 51, 64)
# With the one value that takes nothing back: to die with the parent.
SET_DEATH_SIGNAL, SIGKILL = 1, 9
# Opening for reading and emptying at once needs no right to write from Landlock before ABI 3.
ACCESS_MODE_OR_TRUNCATE, TRUNCATE_ONLY = 0o1003, 0o1000


def fail(number: int) -> int:
    """The call is not done, and says so; 0 says it was."""
    return _FAIL | number


@dataclass(frozen=True)
class Instruction:
    """struct sock_filter."""

    code: int
    value: int
    if_true: int = 0
    if_false: int = 0

    def packed(self) -> bytes:
        return struct.pack("=HBBI", self.code, self.if_true, self.if_false, self.value)


Program = tuple[Instruction, ...]


def install(program: Program) -> None:
    """For good. Needs NO_NEW_PRIVS.

    Raises: OSError where the kernel has no filters.
    """
    packed = b"".join(each.packed() for each in program)
    code = create_string_buffer(packed, len(packed))
    # struct sock_fprog: how many, then where, at the alignment of a pointer.
    where = create_string_buffer(struct.pack("@HP", len(program), addressof(code)))
    prctl("prctl(PR_SET_SECCOMP)", SECCOMP, MODE_FILTER, where)


def program_for(
    architecture: str, own_pid: int | None = None, *, starts_processes: bool = True
) -> Program:
    """The filter for x86_64 or aarch64.

    Args:
        architecture: of ARCHITECTURES.
        own_pid: the one process that may be sent signals by its number; None where Landlock
            or a user of its own keeps signals inside.
        starts_processes: whether it may have others; threads it may.
    """
    return (
        *_of_this_architecture_only(architecture),
        *_answers(architecture, DENIED, fail(errno.EPERM)),
        *_answers(architecture, PRETENDED, fail(0)),
        *_answers(architecture, UNKNOWN, fail(errno.ENOSYS)),
        *_answers(architecture, UNSUPPORTED, fail(errno.EOPNOTSUPP)),
        *(() if starts_processes else _answers(architecture, STARTING, fail(errno.EPERM))),
        *_watched(architecture, own_pid, starts_processes=starts_processes),
        _return(ALLOW),
    )


def _of_this_architecture_only(architecture: str) -> Program:
    return (
        Instruction(LOAD, ARCHITECTURE_AT),
        Instruction(IF_EQUAL, AUDIT_ARCHITECTURES[architecture], 1, 0),
        _return(KILL),
        Instruction(LOAD, NUMBER_AT),
        Instruction(IF_FROM, X32_BIT, 0, 1),
        _return(KILL),
        Instruction(IF_ABOVE, NEWEST_KNOWN, 0, 1),
        _return(fail(errno.ENOSYS)),
    )


def _answers(architecture: str, calls: Numbers, answer: int) -> Program:
    numbers = (_number(architecture, name, calls) for name in calls)
    return tuple(
        each
        for number in numbers
        if number is not None
        for each in (Instruction(IF_EQUAL, number, 0, 1), _return(answer))
    )


def _watched(architecture: str, own_pid: int | None, *, starts_processes: bool) -> Program:
    denied, no_terminal = fail(errno.EPERM), fail(errno.ENOTTY)
    decisions: dict[str, Program] = {
        "open": _empties_what_it_reads(1),
        "openat": _empties_what_it_reads(2),
        "mmap": _counted_memory(),
        "clone": _of_the_same_namespaces_and_files(starts_processes=starts_processes),
        "close_range": (_argument(2), *_without_any_bit(CLOSE_RANGE_UNSHARE, denied)),
        "ioctl": (_argument(1), *_any_of(HARMLESS_IOCTLS, ALLOW), _return(no_terminal)),
        "fcntl": (_argument(1), *_any_of(HARMLESS_FCNTLS, ALLOW), _return(denied)),
        "prctl": (
            _argument(0),
            *_any_of(HARMLESS_PRCTLS, ALLOW),
            *_only_with(SET_DEATH_SIGNAL, SIGKILL),
            _return(denied),
        ),
        "prlimit64": _only_for_itself(denied),
        # No time given is `touch`, which makes the file itself where it is refused.
        "utimensat": (_argument(2), *_any_of((0,), denied), _return(fail(0))),
    }
    if own_pid is not None:
        decisions |= {name: _only_to(own_pid) for name in ("kill", "tgkill", "tkill")}
    return tuple(
        each
        for name, decision in decisions.items()
        if (number := _number(architecture, name, WATCHED)) is not None
        for each in _decided(number, decision)
    )


def _decided(number: int, decision: Program) -> Program:
    """The decision if it is this call; what it leaves open is allowed."""
    return (
        Instruction(IF_EQUAL, number, 0, len(decision) + 1),
        *decision,
        _return(ALLOW),
    )


def _empties_what_it_reads(flags_at: int) -> Program:
    return (
        _argument(flags_at),
        Instruction(AND, ACCESS_MODE_OR_TRUNCATE),
        Instruction(IF_EQUAL, TRUNCATE_ONLY, 0, 1),
        _return(fail(errno.EPERM)),
    )


def _counted_memory() -> Program:
    refused = fail(errno.ENOMEM)
    return (
        _argument(3),
        *_without_any_bit(OTHERS_MEMORY, refused),
        Instruction(AND, UNCOUNTED_MEMORY),
        Instruction(IF_EQUAL, UNCOUNTED_MEMORY, 0, 1),
        _return(refused),
    )


def _of_the_same_namespaces_and_files(*, starts_processes: bool) -> Program:
    denied = fail(errno.EPERM)
    return (
        _argument(0),
        *_without_any_bit(NAMESPACES_AND_PARENT, denied),
        *(() if starts_processes else _with(THREAD, denied)),
        Instruction(AND, THREAD_OR_FILES),
        Instruction(IF_EQUAL, THREAD, 0, 1),
        _return(denied),
    )


def _only_for_itself(else_: int) -> Program:
    return (_argument(0), Instruction(IF_EQUAL, 0, 1, 0), _return(else_))


def _only_with(option: int, value: int) -> Program:
    """If it is this option, decided by its value; if not, the option is what is held still."""
    return (
        Instruction(IF_EQUAL, option, 0, 4),
        _argument(1),
        Instruction(IF_EQUAL, value, 0, 1),
        _return(ALLOW),
        _return(fail(errno.EPERM)),
    )


def _only_to(pid: int) -> Program:
    """Its own number, or 0: its group, which it cannot leave."""
    return (
        _argument(0),
        *_any_of((0, pid), ALLOW),
        _return(fail(errno.EPERM)),
    )


def _with(bit: int, else_: int) -> Program:
    return Instruction(IF_ANY_BIT, bit, 1, 0), _return(else_)


def _without_any_bit(bits: int, else_: int) -> Program:
    return Instruction(IF_ANY_BIT, bits, 0, 1), _return(else_)


def _any_of(values: tuple[int, ...], answer: int) -> Program:
    return tuple(
        each for value in values for each in (Instruction(IF_EQUAL, value, 0, 1), _return(answer))
    )


def _argument(index: int) -> Instruction:
    """Its lower half: numbers, flags and commands are ints, the kernel looks at no more."""
    return Instruction(LOAD, ARGUMENTS_AT + 8 * index)


def _return(answer: int) -> Instruction:
    return Instruction(RETURN, answer)


def _number(architecture: str, name: str, calls: Numbers) -> int | None:
    return calls[name][ARCHITECTURES.index(architecture)]
