"""One stack a home: a lock that the kernel drops with its holder, and a note of where it is."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from app.embedded.broker import make_private
from app.embedded.errors import HomeInUse

LOOKING_TAKES_S = 0.05


class RunningStack(BaseModel):
    """`<home>/stack.json`: where the stack of this home answers, and its processes."""

    model_config = ConfigDict(frozen=True)

    url: str
    pid: int
    parts: dict[str, int]


def state_file(home: Path) -> Path:
    return home / "stack.json"


def publish(home: Path, stack: RunningStack) -> None:
    """Replace the note in one move: a reader sees the old one or the new one."""
    temporary = state_file(home).with_suffix(".tmp")
    temporary.write_text(stack.model_dump_json(indent=1))
    temporary.replace(state_file(home))


def running_stack(home: Path) -> RunningStack | None:
    """The stack that holds this home, if there is one and it is ready."""
    if not is_locked(home):
        return None
    try:
        return RunningStack.model_validate(json.loads(state_file(home).read_text()))
    except (FileNotFoundError, ValidationError, json.JSONDecodeError):
        return None


def is_locked(home: Path) -> bool:
    try:
        descriptor = os.open(_lock_file(home), os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextmanager
def hold(home: Path) -> Iterator[None]:
    """Own this home until the block ends or the process dies.

    Raises: HomeInUse, naming the stack that has it.
    """
    make_private(home / "run")
    descriptor = os.open(_lock_file(home), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock(descriptor, home)
        state_file(home).unlink(missing_ok=True)
        yield
        state_file(home).unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, home: Path) -> None:
    """Twice: who merely looks (`is_locked`) holds the lock for an instant."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(LOOKING_TAKES_S)
    else:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _in_use(home) from None


def _lock_file(home: Path) -> Path:
    return home / "run" / "stack.lock"


def _in_use(home: Path) -> HomeInUse:
    running = running_stack(home)
    where = f"at {running.url} (pid {running.pid})" if running else "and is just starting"
    return HomeInUse(
        f"a stack already runs on this home {where}",
        hint="Use that one, stop it first, or choose another folder with PENJING_HOME.",
    )
