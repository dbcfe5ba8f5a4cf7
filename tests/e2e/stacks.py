"""Real stacks for tests: `penjing up` as a process, and what belongs to it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.embedded.lock import RunningStack, running_stack

EXAMPLES = Path(__file__).parents[2] / "examples"
MODEL = EXAMPLES / "lenet5.keras"
PENJING = (sys.executable, "-m", "app.cli")
START_LIMIT_S = 60.0


@dataclass(frozen=True)
class Up:
    """A `penjing up` that is ready."""

    process: subprocess.Popen[str]
    home: Path
    url: str

    @property
    def parts(self) -> dict[str, int]:
        """Process ids of the parts as they are now."""
        return self.note.parts

    @property
    def note(self) -> RunningStack:
        note = running_stack(self.home)
        assert note is not None
        return note

    def everything(self) -> list[int]:
        """Every process that came of this stack, its supervisor first."""
        return [self.process.pid, *descendants(self.process.pid)]


@contextmanager
def penjing_up(
    home: Path, *arguments: str, environment: Mapping[str, str] = os.environ
) -> Iterator[Up]:
    """Bring a stack up on a free port; whatever is left of it is killed at the end."""
    command = (*PENJING, "up", "--port", "0", "--home", str(home), "--json", *arguments)
    with (home.parent / "up.stderr").open("w") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=dict(environment)
        )
    with process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        try:
            yield Up(process, home, ready["url"])
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)


def penjing(
    *arguments: str,
    home: Path,
    limit_s: float = 120,
    environment: Mapping[str, str] = os.environ,
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        (*PENJING, *arguments, "--home", str(home)),
        capture_output=True,
        text=True,
        timeout=limit_s,
        env=dict(environment),
        check=False,
    )


def small_digits(folder: Path, train_rows: int, test_rows: int = 100) -> Path:
    """A share of the share: uint8 digits, few enough for a quick job."""
    path = folder / f"digits-{train_rows}.npz"
    with np.load(EXAMPLES / "mnist_share.npz") as share:
        np.savez(
            path,
            x_train=share["x_train"][:train_rows],
            y_train=share["y_train"][:train_rows],
            x_test=share["x_test"][:test_rows],
            y_test=share["y_test"][:test_rows],
        )
    return path


def until(condition: Callable[[], Any], limit_s: float, what: str) -> Any:
    """The first truthy answer of `condition`; fails the test if none comes in time."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if answer := condition():
            return answer
        time.sleep(0.02)
    raise AssertionError(f"not within {limit_s:g} s: {what}")


def alive(pid: int) -> bool:
    """A zombie that nobody has waited for is dead."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def descendants(pid: int) -> list[int]:
    """Children, their children, and so on."""
    found: list[int] = []
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in (int(word) for word in listing.read_text().split()):
            found += [child, *descendants(child)]
    return found


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
