"""One supervised process: started, watched, restarted with back-off, stopped."""

import contextlib
import functools
import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import IO

from app.embedded.errors import StackNotStarted
from app.embedded.logfile import CappedLog
from app.processes import die_with_parent

# A part that lived this long is healthy again: its next restart is immediate.
HEALTHY_AFTER_S = 30.0
MAX_BACK_OFF_S = 30.0
CHUNK_BYTES = 65_536
# As much as the largest pipe holds: what a dead part left unread.
LAST_WORDS_BYTES = 2**20


@dataclass(frozen=True)
class PartSpec:
    """What to run, and how long it may take to end when asked to.

    `missing` says what still keeps it from being ready; the next part waits until it is None.
    `hopeless` reads in what it writes that waiting is no use.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    grace_s: float
    missing: Callable[[], str | None] | None = None
    inherited_fds: tuple[int, ...] = ()
    hopeless: Callable[[bytes], StackNotStarted | None] | None = None


@dataclass
class Part:
    """A part as it runs. Times are of one monotonic clock, given by the supervisor."""

    spec: PartSpec
    log: CappedLog
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    restart_at: float | None = None
    failures: int = field(default=0)
    hopeless: StackNotStarted | None = None

    @property
    def output(self) -> IO[bytes] | None:
        return self.process.stdout if self.process else None

    def start(self, now: float) -> None:
        """Start it in a session of its own: a Ctrl-C reaches the supervisor alone."""
        process = subprocess.Popen(
            self.spec.command,
            env=dict(self.spec.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=self.spec.inherited_fds,
            start_new_session=True,
            # Safe here: the supervisor has one thread.
            preexec_fn=functools.partial(  # noqa: PLW1509
                die_with_parent, os.getpid(), signal.SIGKILL
            ),
        )
        if process.stdout:
            os.set_blocking(process.stdout.fileno(), False)
        self.process = process
        self.started_at = now
        self.restart_at = None

    def drain(self) -> bytes | None:
        """Move what it wrote into its log. Returns: it; None = nothing now, b"" = the end."""
        if self.output is None:
            return b""
        content = self.output.read(CHUNK_BYTES)
        # A full disk costs lines of the log, not the stack.
        with contextlib.suppress(OSError):
            self.log.write(content or b"")
        if content and self.spec.hopeless and not self.hopeless:
            self.hopeless = self.spec.hopeless(content)
        return content

    def drain_last_words(self) -> None:
        """Move what is left of its output; a descendant that still holds it may not end it."""
        for _ in range(LAST_WORDS_BYTES // CHUNK_BYTES):
            if not self.drain():
                return

    def ended(self) -> int | None:
        """Its return code once it is dead."""
        return self.process.poll() if self.process else None

    def schedule_restart(self, now: float) -> float:
        """Delay until the next start [s]: none for the first death, then doubling."""
        self.failures = 0 if now - self.started_at > HEALTHY_AFTER_S else self.failures
        delay = 0.0 if self.failures == 0 else min(MAX_BACK_OFF_S, 2.0 ** (self.failures - 2))
        self.failures += 1
        self.restart_at = now + delay
        self.process = None
        return delay

    def terminate(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()

    def kill(self) -> None:
        """End it and whatever it left in its process group."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
