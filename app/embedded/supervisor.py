"""Keeps the parts alive: starts them in order, restarts what dies, stops them in reverse order.

One thread, one selector: the parts' output, the death of a part and the wish to stop all wake it.
"""

import selectors
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from app.embedded.errors import StackNotStarted
from app.embedded.logfile import CappedLog
from app.embedded.part import Part, PartSpec
from app.embedded.signals import StopSignals

READINESS_PAUSE_S = 0.05
DEATHS_BEFORE_GIVING_UP = 3
SAY_WAITING_AFTER_S = 3.0
SAY_LACK_EVERY_S = 10.0
IDLE_S = 60.0

Say = Callable[[str], None]
Pids = Mapping[str, int]


class Supervisor:
    """Runs the parts of one stack until it is told to stop."""

    def __init__(
        self,
        specs: Sequence[PartSpec],
        logs: Path,
        signals: StopSignals,
        say: Say,
        on_change: Callable[[Pids], None],
        stop_hint: str = "",
    ) -> None:
        self._parts = [Part(spec, CappedLog(logs / f"{spec.name}.log")) for spec in specs]
        self._signals = signals
        self._say = say
        self._on_change = on_change
        self._stop_hint = stop_hint
        self._is_up = False
        self._said_lack_at = 0.0
        self._selector = selectors.DefaultSelector()
        self._selector.register(signals.fd, selectors.EVENT_READ)

    def start(self, limit_s: float) -> bool:
        """Start every part, each once the one before it is ready; False if asked to stop meanwhile.

        Raises: StackNotStarted with the last lines of the log of the part that did not come up, or
        as soon as a part says that it is no use.
        """
        deadline = time.monotonic() + limit_s
        for part in self._parts:
            self._start(part)
            self._said_lack_at = time.monotonic()
            while part.spec.missing and (lack := part.spec.missing()):
                self._turn(READINESS_PAUSE_S)
                if self._signals.count:
                    return False
                self._require_progress(part, lack, deadline)
                self._say_lack(part, lack)
        self._is_up = True
        self._announce()
        return True

    def watch(self) -> None:
        """Until asked to stop: collect output, restart what dies."""
        while not self._signals.count:
            self._turn(self._next_restart_in())

    def stop(self) -> None:
        """Stop the parts in reverse order, each with its grace; a further signal ends the wait."""
        patience = self._signals.count + 1
        for part in reversed(self._parts):
            self._stop(part, patience)
        self._selector.close()

    def _start(self, part: Part) -> None:
        part.start(time.monotonic())
        if part.output:
            self._selector.register(part.output, selectors.EVENT_READ, part)
        if self._is_up:
            self._announce()

    def _announce(self) -> None:
        self._on_change({part.spec.name: part.process.pid for part in self._parts if part.process})

    def _turn(self, timeout_s: float) -> None:
        """One round: wait for something to happen, then see to it."""
        self._collect(timeout_s)
        now = time.monotonic()
        for part in self._parts:
            if (code := part.ended()) is not None:
                self._bury(part)
                self._say_restart(part, code, part.schedule_restart(now))
            if part.restart_at is not None and part.restart_at <= now:
                self._start(part)

    def _collect(self, timeout_s: float) -> None:
        for key, _ in self._selector.select(timeout_s):
            if not isinstance(key.data, Part):
                self._signals.clear()
            elif key.data.drain() == b"":
                self._selector.unregister(key.fileobj)

    def _bury(self, part: Part) -> None:
        """Keep its last words, end what it left behind."""
        part.kill()
        output = part.output
        if output is None or output.closed:
            return
        part.drain_last_words()
        if output.fileno() in self._selector.get_map():
            self._selector.unregister(output)
        output.close()

    def _stop(self, part: Part, patience: int) -> None:
        part.restart_at = None
        part.terminate()
        asked_at = time.monotonic()
        has_said = False
        while part.process and part.ended() is None:
            waited = time.monotonic() - asked_at
            if waited > part.spec.grace_s or self._signals.count >= patience:
                break
            if waited > SAY_WAITING_AFTER_S and not has_said:
                self._say(f"waiting for the {part.spec.name} to end{self._stop_hint}")
                has_said = True
            self._collect(0.1)
        self._bury(part)
        part.log.close()

    def _next_restart_in(self) -> float:
        now = time.monotonic()
        times = [part.restart_at - now for part in self._parts if part.restart_at is not None]
        return max(0.0, min([IDLE_S, *times]))

    def _say_restart(self, part: Part, code: int, delay_s: float) -> None:
        when = f"in {delay_s:g} s" if delay_s else "now"
        self._say(
            f"the {part.spec.name} ended ({in_words(code)}); restarting it {when}. "
            f"Its log: {part.log.path}"
        )

    def _say_lack(self, part: Part, lack: str) -> None:
        if time.monotonic() - self._said_lack_at > SAY_LACK_EVERY_S:
            self._said_lack_at = time.monotonic()
            self._say(f"still waiting for the {part.spec.name}: {lack}")

    def _require_progress(self, waiting_for: Part, lack: str, deadline: float) -> None:
        for part in self._parts:
            if part.hopeless:
                raise part.hopeless
            if part.failures >= DEATHS_BEFORE_GIVING_UP:
                raise StackNotStarted(
                    f"the {part.spec.name} died {part.failures} times while starting. "
                    f"The end of {part.log.path}:\n{part.log.tail(15)}"
                )
        if time.monotonic() > deadline:
            raise StackNotStarted(
                f"the {waiting_for.spec.name} was not ready in time: {lack}. "
                f"The end of {waiting_for.log.path}:\n{waiting_for.log.tail(15)}"
            )


def in_words(code: int) -> str:
    """A return code of subprocess: negative ones are signals."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
