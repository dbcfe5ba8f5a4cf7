"""The filter of system calls, run by a small interpreter: every call, on both architectures."""

import errno
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from worker.kernel.seccomp import (
    ALLOW,
    AND,
    IF_ABOVE,
    IF_ANY_BIT,
    IF_EQUAL,
    IF_FROM,
    KILL,
    LOAD,
    RETURN,
    Program,
    fail,
    program_for,
)
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

EPERM, ENOSYS, ENOTTY, PRETEND = fail(errno.EPERM), fail(errno.ENOSYS), fail(errno.ENOTTY), fail(0)
OWN_PID, OTHER_PID = 4242, 4243
ALL = DENIED | PRETENDED | STARTING | UNKNOWN | UNSUPPORTED | WATCHED
# Where the headers of the C library are: the numbers are compared with them.
HEADERS = {
    "x86_64": next(iter(Path("/usr/include").glob("x86_64*/asm/unistd_64.h")), Path("missing")),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
each_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)


@dataclass(frozen=True)
class Call:
    """What the kernel shows a filter of a system call."""

    architecture: int
    number: int
    arguments: tuple[int, ...] = ()

    def packed(self) -> bytes:
        given = (*self.arguments, *[0] * 6)[:6]
        return struct.pack(
            "=iIQ6Q", self.number - (self.number >> 31 << 32), self.architecture, 0, *given
        )


def decision(program: Program, call: Call) -> int:
    """What the kernel's interpreter would return."""
    shown, at, accumulator = call.packed(), 0, 0
    while True:
        instruction = program[at]
        at += 1
        match instruction.code:
            case code if code == LOAD:
                (accumulator,) = struct.unpack_from("=I", shown, instruction.value)
            case code if code == AND:
                accumulator &= instruction.value
            case code if code == RETURN:
                return instruction.value
            case code:
                holds = {
                    IF_EQUAL: accumulator == instruction.value,
                    IF_ABOVE: accumulator > instruction.value,
                    IF_FROM: accumulator >= instruction.value,
                    IF_ANY_BIT: bool(accumulator & instruction.value),
                }[code]
                at += instruction.if_true if holds else instruction.if_false


def answer(architecture: str, name: str, *arguments: int, own_pid: int | None = None) -> int:
    number = ALL[name][ARCHITECTURES.index(architecture)]
    assert number is not None
    call = Call(AUDIT_ARCHITECTURES[architecture], number, arguments)
    return decision(program_for(architecture, own_pid), call)


def numbers(architecture: str, calls: Numbers) -> set[int]:
    found = (each[ARCHITECTURES.index(architecture)] for each in calls.values())
    return {number for number in found if number is not None}


@each_architecture
def test_every_number_gets_the_answer_of_its_table(architecture: str) -> None:
    program = program_for(architecture)
    watched = numbers(architecture, WATCHED)
    answers = {
        **dict.fromkeys(range(NEWEST_KNOWN + 1), ALLOW),
        **dict.fromkeys(range(NEWEST_KNOWN + 1, 1200), ENOSYS),
        **dict.fromkeys(numbers(architecture, DENIED), EPERM),
        **dict.fromkeys(numbers(architecture, PRETENDED), PRETEND),
        **dict.fromkeys(numbers(architecture, UNKNOWN), ENOSYS),
        **dict.fromkeys(numbers(architecture, UNSUPPORTED), fail(errno.EOPNOTSUPP)),
    }
    for number in set(answers) - watched:
        call = Call(AUDIT_ARCHITECTURES[architecture], number)
        assert decision(program, call) == answers[number], number


@each_architecture
def test_tables_name_no_number_twice(architecture: str) -> None:
    found = [each[ARCHITECTURES.index(architecture)] for each in ALL.values()]
    named = [number for number in found if number is not None]
    tables = (DENIED, PRETENDED, STARTING, UNKNOWN, UNSUPPORTED, WATCHED)
    assert len(ALL) == sum(map(len, tables))
    assert sorted(named) == sorted(set(named))


@each_architecture
def test_numbers_are_those_of_the_headers(architecture: str) -> None:
    header = HEADERS[architecture]
    if not header.exists():
        pytest.skip("the headers of the kernel are not installed (Debian: linux-libc-dev)")
    defined = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text()))
    index = ARCHITECTURES.index(architecture)
    newest = max(map(int, defined.values()))
    known = {name: each[index] for name, each in ALL.items() if (each[index] or 0) <= newest}
    assert known == {name: int(defined[name]) if name in defined else None for name in known}


@each_architecture
def test_calls_of_other_architectures_end_the_process(architecture: str) -> None:
    program = program_for(architecture)
    i386, arm = 0x40000003, 0x40000028
    others = {*AUDIT_ARCHITECTURES.values(), i386, arm} - {AUDIT_ARCHITECTURES[architecture]}
    for other in others:
        assert {decision(program, Call(other, number)) for number in range(600)} == {KILL}


@each_architecture
def test_inspections_start_threads_and_no_processes(architecture: str) -> None:
    program, own = (
        program_for(architecture, starts_processes=False),
        AUDIT_ARCHITECTURES[architecture],
    )
    index = ARCHITECTURES.index(architecture)
    clone = ALL["clone"][index]
    assert clone is not None
    assert decision(program, Call(own, clone, (0x3D0F00,))) == ALLOW
    for flags in (0x01200011, 0x4111, 17):
        assert decision(program, Call(own, clone, (flags,))) == EPERM
    for name in STARTING:
        if (number := STARTING[name][index]) is not None:
            assert decision(program, Call(own, number)) == EPERM


@each_architecture
def test_calls_of_the_second_set_end_the_process(architecture: str) -> None:
    program, own = program_for(architecture), AUDIT_ARCHITECTURES[architecture]
    for number in (X32_BIT, X32_BIT + 41, X32_BIT + 520, 0xFFFFFFFF):
        assert decision(program, Call(own, number)) == KILL


@each_architecture
@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("clone", (0x3D0F00,), ALLOW),  # a thread, as the C library starts it
        ("clone", (0x01200011,), ALLOW),  # fork
        ("clone", (0x4111,), ALLOW),  # vfork
        *[("clone", (1 << bit | 17,), EPERM) for bit in (15, 17, 25, 26, 27, 28, 29, 30)],
        ("clone", (1 << 32 | 0x10000000,), EPERM),
        ("mmap", (0, 4096, 3, 0x22), ALLOW),  # MAP_PRIVATE | MAP_ANONYMOUS
        ("mmap", (0, 4096, 3, 0x01), ALLOW),  # MAP_SHARED, of a file
        ("mmap", (0, 4096, 3, 0x21), fail(errno.ENOMEM)),
        ("ioctl", (0, 0x5401), ALLOW),  # TCGETS
        ("ioctl", (0, 0x5412), ENOTTY),  # TIOCSTI: types into a terminal
        ("ioctl", (0, 1 << 32 | 0x5412), ENOTTY),
        ("ioctl", (0, 0x541C), ENOTTY),  # TIOCLINUX
        ("ioctl", (0, 0x40086602), ENOTTY),  # FS_IOC_SETFLAGS
        ("fcntl", (3, 1), ALLOW),  # F_GETFD
        ("fcntl", (3, 1030), ALLOW),  # F_DUPFD_CLOEXEC
        ("fcntl", (3, 1 << 32 | 4), ALLOW),  # F_SETFL: the kernel looks at an int, too
        # F_{GET,SET}LK, F_SETOWN, F_SETSIG, F_SETOWN_EX, F_OFD_SETLK, F_SETLEASE, F_NOTIFY,
        # F_SETPIPE_SZ, F_ADD_SEALS, F_SET_RW_HINT, and what is not there yet
        *[
            ("fcntl", (3, command), EPERM)
            for command in (5, 6, 7, 8, 10, 15, 37, 1024, 1026, 1031, 1033, 1036, 1050)
        ],
        ("prctl", (15,), ALLOW),  # PR_SET_NAME
        ("prctl", (4, 0), EPERM),  # PR_SET_DUMPABLE
        ("prctl", (4, 1), EPERM),
        ("mmap", (0, 4096, 3, 0x122), fail(errno.ENOMEM)),  # MAP_GROWSDOWN
        ("mmap", (0, 4096, 3, 0x40022), fail(errno.ENOMEM)),  # MAP_HUGETLB
        ("mmap", (0, 4096, 3, 0x20022), ALLOW),  # MAP_STACK, of a thread
        ("clone", (0x10F00 & ~0x400,), EPERM),  # a thread with open files of its own
        ("close_range", (3, 9, 0), ALLOW),
        ("close_range", (3, 9, 4), ALLOW),  # CLOSE_RANGE_CLOEXEC
        ("close_range", (3, 9, 2), EPERM),  # CLOSE_RANGE_UNSHARE
        ("prctl", (1, 9), ALLOW),  # PR_SET_PDEATHSIG, SIGKILL
        ("prctl", (1, 0), EPERM),
        ("prctl", (1, 15), EPERM),
        *[("prctl", (option, 0), ALLOW) for option in (3, 16, 23, 38, 51)],
        # PR_SET_{SECCOMP,MM,CHILD_SUBREAPER,SYSCALL_USER_DISPATCH,PTRACER}, PR_SCHED_CORE,
        # PR_SET_MEMORY_MERGE, PR_FUTEX_HASH, and what is not there yet
        *[
            ("prctl", (option, 0), EPERM)
            for option in (22, 35, 36, 59, 0x59616D61, 62, 67, 78, 1000)
        ],
        ("prlimit64", (0, 7), ALLOW),
        ("prlimit64", (OTHER_PID, 7), EPERM),
        ("flock", (3, 2), PRETEND),  # LOCK_EX
        ("sched_setaffinity", (0,), PRETEND),
        ("sched_setaffinity", (OTHER_PID,), PRETEND),
        ("openat", (0, 0, 0o1000), EPERM),  # O_RDONLY | O_TRUNC
        ("openat", (0, 0, 0o1101), ALLOW),  # O_WRONLY | O_CREAT | O_TRUNC: Landlock's to decide
        ("openat", (0, 0, 0o2000000), ALLOW),  # O_CLOEXEC
        ("kill", (OTHER_PID, 9), ALLOW),  # Landlock's to decide
        ("clone3", (), ENOSYS),
        ("openat2", (), ENOSYS),
    ],
)
def test_arguments_decide(
    architecture: str, name: str, arguments: tuple[int, ...], expected: int
) -> None:
    assert answer(architecture, name, *arguments) == expected


def test_open_of_x86_may_not_empty_what_it_reads() -> None:
    assert answer("x86_64", "open", 0, 0o1000) == EPERM
    assert answer("x86_64", "open", 0, 0o1101) == ALLOW


@each_architecture
@pytest.mark.parametrize("name", ["kill", "tkill", "tgkill"])
def test_signals_go_to_itself_alone_where_landlock_keeps_none_inside(
    architecture: str, name: str
) -> None:
    everyone, init, group_of_init = 2**32 - 1, 1, 2**32 - 2
    for pid in (OWN_PID, 0):
        assert answer(architecture, name, pid, 9, own_pid=OWN_PID) == ALLOW
    for pid in (OTHER_PID, everyone, init, group_of_init):
        assert answer(architecture, name, pid, 9, own_pid=OWN_PID) == EPERM


@each_architecture
@pytest.mark.parametrize("own_pid", [None, OWN_PID])
def test_kernel_would_take_the_program(architecture: str, own_pid: int | None) -> None:
    program = program_for(architecture, own_pid)
    assert len(program) <= 4096
    assert program[-1].code == RETURN
    for at, instruction in enumerate(program):
        assert len(instruction.packed()) == 8
        assert all(after < len(program) for after in successors(at, instruction.code, program))


def successors(at: int, code: int, program: Program) -> Iterator[int]:
    if code in (IF_EQUAL, IF_ABOVE, IF_FROM, IF_ANY_BIT):
        yield at + 1 + program[at].if_true
        yield at + 1 + program[at].if_false
    elif code != RETURN:
        yield at + 1
