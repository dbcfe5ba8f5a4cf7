"""Trainings that do not only take: they lie, hide, stop, and get in the way of who looks on.

Each is given a job's folder, like those of `hostile_child`.
"""

import ctypes
import itertools
import mmap
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from app.reports.report import Verdict
from tests.e2e.faults.reports import empty_report
from worker.engine.order import ORDER, RESULT, Artifact, Event, Order, Result

MIB = 1 << 20
Emit = Callable[[Event], None]
LIBC = ctypes.CDLL(None, use_errno=True)


def memory_that_is_no_data(folder: Path, emit: Emit) -> None:
    """What was written and then closed to writing counts in no limit of the kernel."""
    held = []
    while True:
        area = mmap.mmap(-1, 64 * MIB, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        for page in range(0, len(area), mmap.PAGESIZE):
            area[page] = 1
        start = ctypes.addressof(ctypes.c_char.from_buffer(area))
        LIBC.mprotect(ctypes.c_void_p(start), ctypes.c_size_t(len(area)), mmap.PROT_READ)
        held.append(area)


def reserved_files(folder: Path, emit: Emit) -> None:
    for number in itertools.count():
        with (folder / "scratch" / str(number)).open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, 64 * MIB)


def sparse_artifact(folder: Path, emit: Emit) -> None:
    """No disk holds it; who copies it would write it out."""
    with (folder / "out" / "file.tflite").open("wb") as file:
        file.truncate(512 * MIB)
    leave(folder, emit)


def rename_storm(folder: Path, emit: Emit) -> None:
    """Files in folders that are never where they were."""
    places = [folder / "scratch" / f"place-{number}" for number in range(8)]
    for place in places:
        place.mkdir()
    threading.Thread(target=rename_for_ever, args=(places,), daemon=True).start()
    for number in itertools.count():
        with suppress(OSError):
            (places[number % 8] / str(number)).write_bytes(b"x" * 4096)


def rename_for_ever(places: list[Path]) -> None:
    elsewhere = places[0].with_name("elsewhere")
    for place in itertools.cycle(places):
        with suppress(OSError):
            place.rename(elsewhere)
            elsewhere.rename(place)


def hard_links(folder: Path, emit: Emit) -> None:
    first = folder / "scratch" / "first"
    first.write_bytes(b"x")
    for number in itertools.count():
        (folder / "scratch" / str(number)).hardlink_to(first)


def leaves_the_session(folder: Path, emit: Emit) -> None:
    """Or tries to, in processes of processes whose parents are gone."""
    for _ in range(3):
        if os.fork() == 0:
            if os.fork() != 0:
                os._exit(0)
            with suppress(OSError):
                os.setsid()
            with suppress(OSError):
                os.setpgid(0, 0)
            time.sleep(600)
    time.sleep(600)


def stops_itself(folder: Path, emit: Emit) -> None:
    os.fork()
    os.kill(0, signal.SIGSTOP)


def closes_all_files(folder: Path, emit: Emit) -> None:
    os.closerange(0, 1024)
    time.sleep(600)


def half_an_event(folder: Path, emit: Emit) -> None:
    channel = int(sys.argv[1])
    while True:
        os.write(channel, b" ")
        time.sleep(0.001)


def half_a_large_event(folder: Path, emit: Emit) -> None:
    while True:
        os.write(int(sys.argv[1]), b"x" * 4096)


def takes_back_what_it_says(folder: Path, emit: Emit) -> None:
    """So that the worker finds nothing where it saw something, and waits for it."""
    channel = int(sys.argv[1])
    reading = os.open(f"/proc/self/fd/{channel}", os.O_RDONLY | os.O_NONBLOCK)
    while True:
        os.write(channel, b"x")
        with suppress(BlockingIOError):
            os.read(reading, 1)


def leaves_a_fork_that_holds_its_pipes(folder: Path, emit: Emit) -> None:
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)


def zombie_storm(folder: Path, emit: Emit) -> None:
    while True:
        with suppress(OSError):
            if os.fork() == 0:
                os._exit(0)


def spawns(folder: Path, emit: Emit) -> None:
    """By `vfork`, in which the parent waits for the child to become another program."""
    sleeping = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
    while True:
        with suppress(OSError):
            os.posix_spawn(sys.executable, sleeping, {})


def becomes_another_again_and_again(folder: Path, emit: Emit) -> None:
    """From one of many threads, so that the first of them is gone."""
    again = (
        "import os, sys, threading, time\n"
        "for _ in range(4): threading.Thread(target=time.sleep, args=(9,), daemon=True).start()\n"
        "run = lambda: os.execv(sys.executable, [sys.executable, '-S', *sys.orig_argv[2:]])\n"
        "threading.Thread(target=run).start(); time.sleep(600)"
    )
    os.execv(sys.executable, [sys.executable, "-S", "-c", again])


def takes_all_cores(folder: Path, emit: Emit) -> None:
    for core in itertools.cycle(range(os.cpu_count() or 1)):
        os.sched_setaffinity(0, {core})
        os.sched_yield()


def takes_what_the_kernel_gives(folder: Path, emit: Emit) -> None:
    """Timers, watches and pipes, until there are no more; then it waits."""
    number = ctypes.c_int()
    for _ in range(10_000):
        if LIBC.timer_create(1, None, ctypes.byref(number)) < 0:
            break
    for make in (LIBC.epoll_create1, LIBC.inotify_init1, LIBC.eventfd):
        for _ in range(200):
            make(0, 0)
    with suppress(OSError):
        while True:
            _, writing = os.pipe()
            os.write(writing, bytes(65536))
    time.sleep(600)


def recursion_in_c(folder: Path, emit: Emit) -> None:
    sys.setrecursionlimit(10**9)
    nested: object = []
    for _ in range(10**6):
        nested = (nested,)
    hash(nested)


def result_is_a_folder(folder: Path, emit: Emit) -> None:
    (folder / RESULT).mkdir()
    emit(Event(event="done"))
    time.sleep(600)


def done_again_and_again(folder: Path, emit: Emit) -> None:
    while True:
        emit(Event(event="done"))
        emit(Event(event="ready"))


def nested_event(folder: Path, emit: Emit) -> None:
    os.write(int(sys.argv[1]), b'{"event":"metrics","data":' + b"[" * 100_000 + b"\n")
    time.sleep(600)


def number_without_end(folder: Path, emit: Emit) -> None:
    """A size that no program after this one could compute with."""
    sound = result().model_dump_json()
    (folder / RESULT).write_text(sound.replace('"size_bytes":1,', f'"size_bytes":{"9" * 4000},'))
    (folder / "out" / "file.tflite").write_bytes(b"x")
    emit(Event(event="done"))
    time.sleep(600)


def links_and_pipes(folder: Path, emit: Emit) -> None:
    """In place of its file."""
    offered = folder / "out" / "file.tflite"
    secret = Order.model_validate_json((folder / ORDER).read_bytes()).model.path
    with suppress(OSError):
        offered.symlink_to("/etc/passwd")
    with suppress(OSError):
        os.mkfifo(offered)
    with suppress(OSError):
        offered.hardlink_to(secret)
    leave(folder, emit)


def leave(folder: Path, emit: Emit) -> None:
    (folder / RESULT).write_text(result().model_dump_json())
    emit(Event(event="done"))
    time.sleep(600)


def result() -> Result:
    return Result(
        report=empty_report(),
        layers=(),
        verdict=Verdict.MET,
        artifacts=(
            Artifact(
                kind="tflite", format="tflite", path=Path("out/file.tflite"), filename="m.tflite"
            ),
        ),
    )


TRICKS: dict[str, Callable[[Path, Emit], None]] = {
    each.__name__.replace("_", "-"): each
    for each in (
        memory_that_is_no_data,
        reserved_files,
        sparse_artifact,
        rename_storm,
        hard_links,
        leaves_the_session,
        stops_itself,
        closes_all_files,
        half_an_event,
        half_a_large_event,
        takes_back_what_it_says,
        leaves_a_fork_that_holds_its_pipes,
        zombie_storm,
        spawns,
        becomes_another_again_and_again,
        takes_all_cores,
        takes_what_the_kernel_gives,
        recursion_in_c,
        result_is_a_folder,
        done_again_and_again,
        nested_event,
        number_without_end,
        links_and_pipes,
    )
}
