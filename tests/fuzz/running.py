"""Shares the cases among processes, survives their deaths, and counts what comes."""

import os
import selectors
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock

from tests.fuzz.cases import case
from tests.fuzz.reading import Outcome

# A process in native code does not hear its own alarm; that it is stuck is plain much sooner.
SILENCE_S = 8.0
START_S = 120.0
FINDINGS = ("crash", "hang", "death")
SLOWEST = 5
TELL_EVERY = 10_000


@dataclass
class Tally:
    """What a run has come to."""

    verdicts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    findings: list[Outcome] = field(default_factory=list)
    slowest: list[Outcome] = field(default_factory=list)
    peak_bytes: int = 0
    peak_number: int = 0

    def add(self, outcome: Outcome) -> None:
        self.verdicts[outcome.format][outcome.verdict] += 1
        if outcome.verdict in FINDINGS:
            self.findings.append(outcome)
        if outcome.peak_bytes > self.peak_bytes:
            self.peak_bytes, self.peak_number = outcome.peak_bytes, outcome.number
        slowest = sorted((*self.slowest, outcome), key=lambda each: -each.time_ms)
        self.slowest = slowest[:SLOWEST]

    @property
    def total(self) -> int:
        return sum(counts.total() for counts in self.verdicts.values())

    def lines(self) -> Iterator[str]:
        columns = ("ready", "door", "inspector", "limit", *FINDINGS)
        yield f"{'format':12}" + "".join(f"{name:>11}" for name in ("cases", *columns))
        for name in sorted(self.verdicts):
            counts = self.verdicts[name]
            cells = (counts.total(), *(counts[column] for column in columns))
            yield f"{name:12}" + "".join(f"{cell:11}" for cell in cells)
        all_counts: Counter[str] = sum(self.verdicts.values(), Counter())
        cells = (all_counts.total(), *(all_counts[column] for column in columns))
        yield f"{'all':12}" + "".join(f"{cell:11}" for cell in cells)
        yield f"peak memory: {self.peak_bytes / 2**20:.0f} MiB, by number {self.peak_number}"
        for each in self.slowest:
            yield f"slowest: {each.time_ms:.0f} ms, {each.format} number {each.number}"


@dataclass(frozen=True)
class Share:
    """The cases of one process: every `step`-th from `start` on."""

    start: int
    step: int
    count: int
    formats: tuple[str, ...]

    def outcomes(self) -> Iterator[Outcome]:
        """Of every case; the process is started anew behind one that it dies of."""
        done = 0
        while done < self.count:
            for outcome in self._from(done):
                done += 1
                yield outcome
            if done < self.count:
                yield self._death(self.start + done * self.step)
                done += 1

    def _from(self, done: int) -> Iterator[Outcome]:
        arguments = (self.start + done * self.step, self.step, self.count - done)
        command = (sys.executable, "-m", "tests.fuzz.reading", *map(str, arguments))
        with subprocess.Popen(
            (*command, ",".join(self.formats)),
            stdout=subprocess.PIPE,
            # Native libraries complain of what they are given, by the megabyte.
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        ) as process:
            try:
                yield from map(Outcome.model_validate_json, _lines(process))
            finally:
                process.kill()

    def _death(self, number: int) -> Outcome:
        return Outcome(
            number=number,
            format=case(number, self.formats).format,
            verdict="death",
            time_ms=0,
            peak_bytes=0,
            detail="the process died of it, or said nothing for too long",
        )


def run(
    start: int,
    count: int,
    *,
    processes: int,
    formats: tuple[str, ...] = (),
    tell: Callable[[Outcome], None] = lambda finding: None,
) -> Tally:
    """Judge `count` cases from number `start` on; `tell` hears of each finding at once."""
    tally, lock = Tally(), Lock()

    def work(share: Share) -> None:
        for outcome in share.outcomes():
            with lock:
                tally.add(outcome)
                if tally.total % TELL_EVERY == 0:
                    print(f"{tally.total} cases", flush=True)
            if outcome.verdict in FINDINGS:
                tell(outcome)

    shares = [
        Share(start + index, processes, len(range(index, count, processes)), formats)
        for index in range(processes)
    ]
    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(work, shares))
    return tally


def _lines(process: subprocess.Popen[bytes]) -> Iterator[bytes]:
    """What the process says, line by line, until it ends or falls silent; the first is empty."""
    assert process.stdout is not None
    descriptor, rest, patience_s = process.stdout.fileno(), b"", START_S
    with selectors.DefaultSelector() as waiting:
        waiting.register(descriptor, selectors.EVENT_READ)
        while waiting.select(patience_s) and (piece := os.read(descriptor, 2**16)):
            *lines, rest = (rest + piece).split(b"\n")
            yield from filter(None, lines)
            patience_s = SILENCE_S
