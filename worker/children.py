"""A running child process: fed, watched, and ended with all it started."""

import os
import select
import signal
import subprocess
import threading
import time
from collections import deque
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from app.errors import ChildCrashed, EngineFault, JobError, OutOfMemory
from worker.engine.order import Event
from worker.job_folder import JobFolder
from worker.limits import Limits
from worker.session_usage import PAGE_BYTES, SessionUse, kill_session, use_of_session
from worker.token_bucket import TokenBucket

LINE_LIMIT_BYTES = 1 << 20
LOG_TAIL_BYTES = 64 << 10
# An honest job sends a few events a second, and says a few lines.
EVENT_BYTES_PER_S, LOG_BYTES_PER_S = 64 << 10, 1 << 20
BURST_BYTES = 2 << 20
# What a process says before it aborts for want of memory.
OUT_OF_MEMORY_SIGNS = ("bad_alloc", "out of memory", "cannot allocate memory", "memoryerror")
# A SIGKILL is for want of memory if the kernel counted one, or so much of the limit was in use.
NEAR_THE_LIMIT = 0.8
MACHINE_BYTES = os.sysconf("SC_PHYS_PAGES") * PAGE_BYTES
POLL_S = 0.01
# What it wrote last may still be in the pipe.
LAST_WORDS_S = 1.0


class Child:
    """A running child and its folder: give it a job, read its events, end it with all it started.

    `ready` says that it has imported the engine; it is told to go from then on.
    """

    def __init__(
        self, process: "subprocess.Popen[bytes]", channel: int, limits: Limits, folder: JobFolder
    ) -> None:
        self.process = process
        self.limits = limits
        self.folder = folder
        self.event_bucket = TokenBucket(EVENT_BYTES_PER_S, BURST_BYTES)
        self.log_bucket = TokenBucket(LOG_BYTES_PER_S, BURST_BYTES)
        self._channel = channel
        # Without a box a child gets at our ends of its pipes by /proc/self/fd: it can empty one
        # that was seen to hold something, or fill one. Nobody waits for that.
        os.set_blocking(channel, False)
        if process.stdin is not None:
            os.set_blocking(process.stdin.fileno(), False)
        self._memory_bytes = min(limits.memory_bytes, MACHINE_BYTES)
        self._peak_bytes = 0
        self._kernel_kills = _kernel_kills()
        self._buffer = b""
        self._tail: deque[bytes] = deque()
        self._is_ended = threading.Event()
        self._log = threading.Thread(target=self._keep_tail, name="child-log", daemon=True)
        self._log.start()

    def go(self) -> None:
        """Tell it that its job is in its folder."""
        stdin: IO[bytes] | None = self.process.stdin
        assert stdin is not None
        try:
            stdin.write(b"go\n")
            stdin.close()
        except BrokenPipeError:
            return  # it is gone already; reading its events says so

    def read(self, timeout_s: float) -> list[Event] | None:
        """Events that came within the time; None once it is dead or has closed its channel.

        Raises: EngineFault for what is no event.
        """
        # Asked first: a process forked by a dead child may hold the channel open for ever.
        was_alive = self.is_alive()
        ready, _, _ = select.select([self._channel], [], [], timeout_s)
        if not ready:
            return [] if was_alive else None
        try:
            chunk = os.read(self._channel, 1 << 14)
        except BlockingIOError:
            return []  # the child has read it back itself
        if not chunk:
            return None
        time.sleep(self.event_bucket.take(len(chunk)))
        *lines, self._buffer = (self._buffer + chunk).split(b"\n")
        if len(self._buffer) > LINE_LIMIT_BYTES:
            raise EngineFault("the child sent more than one event may hold")
        try:
            return [Event.model_validate_json(line) for line in lines]
        except ValidationError as error:
            raise EngineFault("the child sent something that is no event") from error

    def is_alive(self) -> bool:
        """A dead one stays a zombie until `kill`: its number becomes nobody else's."""
        if self.process.returncode is not None:
            return False
        exited = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.process.pid, exited) is None

    def use(self) -> SessionUse:
        """What it and everything in its session use right now."""
        use = use_of_session(self.process.pid)
        self._peak_bytes = max(self._peak_bytes, use.memory_bytes)
        return use

    def ends_within(self, limit_s: float) -> bool:
        deadline = time.monotonic() + limit_s
        while self.is_alive() and time.monotonic() < deadline:
            time.sleep(POLL_S)
        return not self.is_alive()

    def kill(self) -> None:
        """End it and its whole session, once, and give its file descriptors back."""
        if self._is_ended.is_set():
            return  # its number is free since
        self._is_ended.set()
        kill_session(self.process.pid)
        self.process.wait()
        self._log.join(LAST_WORDS_S)
        if self.process.stdin is not None:
            self.process.stdin.close()
        os.close(self._channel)

    def end(self) -> None:
        """Kill it, and remove its folder."""
        self.kill()
        self.folder.remove()

    def log_tail(self) -> str:
        """The last it wrote to its standard output and error; for the worker's log, not clients."""
        return b"".join(self._tail).decode(errors="replace")

    def cause_of_death(self, stage: str) -> JobError:
        """Why it closed its channel without a word. It is dead afterwards."""
        has_ended = not self.is_alive()
        self.kill()
        code = self.process.returncode
        if not has_ended:
            return ChildCrashed(
                "the process doing the work fell silent and had to be ended",
                hint="Its connection to the worker was closed from inside, which no step does; "
                "the worker's log has its last words.",
                stage=stage,
            )
        if self._wanted_memory(code):
            return OutOfMemory(
                "the process doing the work was ended for want of memory",
                hint="Give smaller batches or a smaller model, or a worker with more memory.",
                stage=stage,
            )
        return ChildCrashed(
            f"the process doing the work died with {_ending(code)}",
            hint="A converter or an operator of this model crashed; leave out the last step to "
            "see which, or choose another conversion.",
            stage=stage,
        )

    def _wanted_memory(self, code: int) -> bool:
        said = self.log_tail().lower()
        if any(sign in said for sign in OUT_OF_MEMORY_SIGNS):
            return True
        is_near = self._peak_bytes >= NEAR_THE_LIMIT * self._memory_bytes
        return code == -signal.SIGKILL and (is_near or _kernel_kills() > self._kernel_kills)

    def _keep_tail(self) -> None:
        # Only this thread closes what it reads: a process that left the session may hold the pipe
        # open long after the child, and nobody is to wait for that.
        output = self.process.stdout
        assert output is not None
        held = 0
        with output:
            while chunk := output.read(1 << 14):
                self._tail.append(chunk)
                held += len(chunk)
                while held > LOG_TAIL_BYTES and len(self._tail) > 1:
                    held -= len(self._tail.popleft())
                self._is_ended.wait(self.log_bucket.take(len(chunk)))


def _ending(code: int) -> str:
    """A return code in words; Python has no names for real-time signals."""
    if code >= 0:
        return f"exit code {code}"
    named = {number.value: number.name for number in signal.Signals}
    return f"signal {named.get(-code, -code)}"


def _kernel_kills() -> int:
    """Processes that the kernel has killed for want of memory since it started."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
