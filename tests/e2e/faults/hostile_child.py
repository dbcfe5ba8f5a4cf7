"""Trainings that take what they can: what a model does that is a program, once it runs.

Each is given a job's folder, and goes on until somebody ends it.
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from app.errors import EngineFault
from worker.engine.order import ORDER, Event, Order

MIB = 1 << 20
Emit = Callable[[Event], None]


def endless(folder: Path, emit: Emit) -> None:
    while True:
        pass


def memory_bomb(folder: Path, emit: Emit) -> None:
    """In many processes: each stays below what the kernel lets one have."""
    held: list[bytes] = []
    if os.fork() == 0:
        os.fork()
    while True:
        held.append(b"x" * (8 * MIB))
        time.sleep(0.01)


def fork_bomb(folder: Path, emit: Emit) -> None:
    while True:
        try:
            os.fork()
        except OSError:
            time.sleep(0.01)


def heavy_fork_bomb(folder: Path, emit: Emit) -> None:
    """As large as one that has imported TensorFlow: forks have all of it, and take nothing."""
    held = b"x" * (240 * MIB)
    fork_bomb(folder, emit)
    del held


def orphans(folder: Path, emit: Emit) -> None:
    """Processes that do not go with their parent."""
    for _ in range(3):
        if os.fork() == 0:
            time.sleep(120)
            os._exit(0)
    time.sleep(120)


def thread_bomb(folder: Path, emit: Emit) -> None:
    while True:
        try:
            threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
        except RuntimeError:
            time.sleep(0.01)


def large_file(folder: Path, emit: Emit) -> None:
    fill(folder / "scratch" / "large")


def nameless_file(folder: Path, emit: Emit) -> None:
    """No walk over the folder finds what has no name any more."""
    path = folder / "scratch" / "nameless"
    with path.open("wb") as file:
        path.unlink()
        while True:
            file.write(b"x" * MIB)
            file.flush()


def many_files(folder: Path, emit: Emit) -> None:
    for number in range(10**9):
        (folder / "scratch" / str(number)).write_bytes(b"")


def deep_tree(folder: Path, emit: Emit) -> None:
    place = os.open(folder / "scratch", os.O_RDONLY)
    for _ in range(10**9):
        os.mkdir("d" * 100, dir_fd=place)
        inner = os.open("d" * 100, os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = inner


def checkpoint_bomb(folder: Path, emit: Emit) -> None:
    """Into the folder that outlives the attempt."""
    kept = Order.model_validate_json((folder / ORDER).read_bytes()).checkpoints
    assert kept is not None
    fill(kept / "training-1.npz")


def output_bomb(folder: Path, emit: Emit) -> None:
    for number in range(10**9):
        (folder / "out" / f"{number}.tflite").write_bytes(b"")


def output_flood(folder: Path, emit: Emit) -> None:
    fill(folder / "out" / "large.tflite")


def log_flood(folder: Path, emit: Emit) -> None:
    while True:
        os.write(1, b"all work and no play\n" * 1000)


def event_flood(folder: Path, emit: Emit) -> None:
    while True:
        emit(Event(event="progress", progress=0.5, message="x" * 100))


def telling(folder: Path, emit: Emit) -> None:
    """An error whose words hold where the job is, and a secret place of Python."""
    text = f"could not open {folder}/in/model.keras\nTraceback: {sys.prefix}/lib/a.py line 1"
    problem = EngineFault(text, hint=f"look into {folder.parent}").as_problem()
    emit(Event(event="warning", message=f"see {folder}/scratch/log.txt"))
    emit(Event(event="error", problem=problem))
    time.sleep(60)


def fill(path: Path) -> None:
    with path.open("wb") as file:
        while True:
            file.write(b"x" * MIB)
            file.flush()


BEHAVIOURS: dict[str, Callable[[Path, Emit], None]] = {
    "endless": endless,
    "memory-bomb": memory_bomb,
    "fork-bomb": fork_bomb,
    "heavy-fork-bomb": heavy_fork_bomb,
    "orphans": orphans,
    "thread-bomb": thread_bomb,
    "large-file": large_file,
    "nameless-file": nameless_file,
    "many-files": many_files,
    "deep-tree": deep_tree,
    "checkpoint-bomb": checkpoint_bomb,
    "output-bomb": output_bomb,
    "output-flood": output_flood,
    "log-flood": log_flood,
    "event-flood": event_flood,
    "telling": telling,
}
