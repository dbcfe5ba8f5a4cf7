"""The box: a process that takes everything away from itself, then becomes another program.

    python -S -P -m worker.box '<order>' program argument...

What runs in it are strangers' files: a model is a program. The steps are in `confine`, in the order
they are done; each is for good, and holds for all that the program starts. Where one does not hold,
this ends with CANNOT_CONFINE and says which in a line of JSON on its standard error.
"""

import json
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

from app.confinement import CANNOT_CONFINE, IMPORT_ROOT, STANDING, BoxOrder, Confinement
from app.processes import die_with_parent, gain_no_privileges, keep_memory_private, loader_of
from worker.box_user import change_user
from worker.kernel import landlock, limits, seccomp
from worker.kernel.calls import machine
from worker.kernel.landlock import DEVICE, READ, RUN, WRITE, Right, Rule
from worker.kernel.system_calls import ARCHITECTURES

# What Linux gives by itself, and a thread takes as its share.
STACK_BYTES = 8 * 2**20
# Address space beyond memory: libraries, mapped files, what allocators set aside. Its tables take
# a five-hundredth of it.
MAPPED_BYTES = 64 * 2**30
# With timers, which are signals to come. Of one user, they count together.
WAITING_SIGNALS = 1024
SYSTEM_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache")
# How many processors, how much memory, which time zone: numeric libraries ask as they start.
FACTS_OF_THE_MACHINE = (
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
    "/sys/kernel/mm/transparent_hugepage",
    "/sys/fs/cgroup/cpu.max",
    "/sys/fs/cgroup/cpu/cpu.cfs_quota_us",
    "/sys/fs/cgroup/cpu/cpu.cfs_period_us",
    "/etc/localtime",
    "/usr/share/zoneinfo",
    "/etc/ssl/openssl.cnf",
)
SOURCES_OF_CHANCE = ("/dev/urandom", "/dev/random", "/dev/zero")
# On Linux, /dev/fd is a link to it that not everyone who makes a /dev makes, too.
OPEN_FILES = Path("/proc/self/fd" if sys.platform == "linux" else "/dev/fd")
OUT_OF_MEMORY_SCORE = Path("/proc/self/oom_score_adj")

LINUX_HINT = "Run workers on Linux, in a container or a virtual machine."
LANDLOCK_HINT = (
    "Boot a kernel of 5.13 or later with landlock in its list of security modules (lsm=)."
)
SECCOMP_HINT = "Run on x86_64 or aarch64 with a kernel that has CONFIG_SECCOMP_FILTER."


@dataclass(frozen=True)
class Standing:
    """How far the box holds here. The program finds it in its environment, as JSON.

    Attributes:
        user: "own": one that nobody else has; "root": root's number without any of its rights;
            "shared": the starter's.
        landlock_abi: which edition restricts files; 0 if none does.
        has_filter: whether system calls are filtered.
        lacking: what an older kernel, or an option, left out; in words.
        closed: what keeps root from having an own one: it does not get through to this.
    """

    user: str
    landlock_abi: int
    has_filter: bool
    lacking: tuple[str, ...]
    closed: str = ""


class StepFailed(Exception):
    """A step that must hold did not; the text says which, and what to do."""


def main(arguments: list[str]) -> NoReturn:
    order, program = BoxOrder.from_json(arguments[0]), arguments[1:]
    try:
        standing = confine(order)
        os.environ[STANDING] = json.dumps(asdict(standing))
        become(program)
    except (StepFailed, OSError) as error:
        sys.stderr.write(json.dumps({"cannot_confine": str(error)}) + "\n")
    sys.stderr.flush()
    os._exit(CANNOT_CONFINE)


def become(program: list[str]) -> NoReturn:
    try:
        os.execv(program[0], program)  # noqa: S606 - the starter's program, no shell
    except OSError as error:
        raise StepFailed(f"{program[0]} cannot be started: {error.strerror}") from error


def confine(order: BoxOrder) -> Standing:
    """Every step, in this order: one that needs a right comes before the one that takes it."""
    allowed = order.confinement
    close_files(allowed.channels)
    forget_signals()
    go_first()
    set_limits(allowed)
    if sys.platform != "linux":
        _unless_optional(order, "only Linux can confine a process", LINUX_HINT)
        return Standing("shared", 0, False, ("NOTHING BUT LIMITS HOLDS",))
    user, closed, uncounted = change_user(order)
    die_with_parent(order.parent_pid, signal.SIGKILL)  # after it: a change of user disarms this
    gain_no_privileges()
    keep_memory_private()  # exec opens it again: the worker sees what a program has open
    abi, lacking = restrict_files(order)
    # Nobody else has a user of its own, and none may signal processes of another.
    signals_stay_inside = user == "own" or abi >= landlock.SCOPE_ABI
    has_filter, unfiltered = filter_calls(order, signals_stay_inside=signals_stay_inside)
    return Standing(user, abi, has_filter, (*lacking, *unfiltered, *uncounted), closed)


def close_files(channels: tuple[int, ...]) -> None:
    """Nothing that the starter had open stays, beside what it names."""
    for entry in OPEN_FILES.iterdir():
        if int(entry.name) not in {0, 1, 2, *channels}:
            with suppress(OSError):  # what listed them is closed by now
                os.close(int(entry.name))
    for channel in channels:
        os.set_inheritable(channel, True)
    os.umask(0o077)


def forget_signals() -> None:
    """What the starter ignored or held back is ended by signals again, with all that it starts."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def go_first() -> None:
    """Where the machine's memory ends, the kernel ends this before anything else."""
    with suppress(OSError):  # not Linux, or a /proc that is read-only
        OUT_OF_MEMORY_SCORE.write_text("1000")


def set_limits(allowed: Confinement) -> None:
    for kind in limits.NONE_OF:
        limits.limit(kind, 0)
    limits.limit(resource.RLIMIT_STACK, STACK_BYTES)  # RLIMIT_DATA leaves it out
    if sys.platform == "linux":
        limits.limit(resource.RLIMIT_SIGPENDING, WAITING_SIGNALS)
    limits.limit(resource.RLIMIT_NOFILE, allowed.open_files)
    limits.limit(resource.RLIMIT_FSIZE, allowed.file_bytes)
    limits.limit(resource.RLIMIT_DATA, allowed.memory_bytes)
    # Nobody counts the tables of pages that are mapped and never written.
    address_bytes = allowed.address_bytes or allowed.memory_bytes + MAPPED_BYTES
    limits.limit(resource.RLIMIT_AS, address_bytes)
    if allowed.cpu_s is not None:
        limits.limit_cpu(allowed.cpu_s)


def restrict_files(order: BoxOrder) -> tuple[int, tuple[str, ...]]:
    """Landlock. Returns its edition, and what that one lacks."""
    abi = landlock.kernel_abi()
    if order.newest_abi is not None:
        abi = min(abi, order.newest_abi)
    try:
        if abi == 0:
            raise OSError("this kernel has no Landlock")
        landlock.restrict(rules(order), abi)
    except OSError as error:
        _unless_optional(order, f"files cannot be restricted: {error}", LANDLOCK_HINT)
        return 0, ("FILES ARE NOT RESTRICTED",)
    return abi, landlock.missing_from(abi)


def rules(order: BoxOrder) -> Iterator[Rule]:
    """What may be opened; nothing else can be."""
    allowed = order.confinement
    for path in (*SYSTEM_LIBRARIES, *order.libraries, *FACTS_OF_THE_MACHINE, *SOURCES_OF_CHANCE):
        yield Rule(path, READ)
    yield Rule("/dev/null", DEVICE)
    # To import ours, Python lists the folder they are in: names, where it is no library's.
    yield Rule(str(IMPORT_ROOT), Right.READ_DIR)
    yield from (Rule(path, READ) for path in allowed.readable)
    yield from (Rule(path, WRITE) for path in allowed.writable)
    # Execution is opening, too, and the kernel opens the loader of a program for it.
    interpreter = os.path.realpath(sys.executable)
    yield Rule(interpreter, RUN)
    if loader := loader_of(interpreter):
        yield Rule(loader, RUN)


def filter_calls(order: BoxOrder, *, signals_stay_inside: bool) -> tuple[bool, tuple[str, ...]]:
    """The filter of seccomp. Returns whether it holds, and what is lacking if not."""
    try:
        if machine() not in ARCHITECTURES or not order.has_filter:
            raise OSError(f"the system calls of {machine()} are not known, or not to be filtered")
        own_pid = None if signals_stay_inside else os.getpid()
        starts = order.confinement.starts_processes
        seccomp.install(seccomp.program_for(machine(), own_pid, starts_processes=starts))
    except OSError as error:
        _unless_optional(order, f"system calls cannot be filtered: {error}", SECCOMP_HINT)
        return False, ("SYSTEM CALLS ARE NOT FILTERED",)
    return True, ()


def _unless_optional(order: BoxOrder, failure: str, hint: str) -> None:
    if not order.confinement.is_optional:
        raise StepFailed(f"{failure}. {hint}")


if __name__ == "__main__":
    main(sys.argv[1:])
