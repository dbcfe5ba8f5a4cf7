"""Latency of several files alternately, so that what disturbs the machine disturbs all alike."""

import time
from collections.abc import Callable, Sequence

import numpy as np

from worker.engine.measuring.messages import Latency

Invoke = Callable[[], object]
Clock = Callable[[], int]

BLOCK_NS = 10_000_000
WARM_UP_NS = 100_000_000
LEAST_RUNS = 20
MOST_RUNS = 5_000


def interleaved(
    invokes: Sequence[Invoke], seconds: float, clock_ns: Clock = time.perf_counter_ns
) -> list[Latency]:
    """Time calls in alternating blocks of about 10 ms until `seconds` are over.

    Each is called at least 20 times after its warm-up, also where that takes longer.
    """
    for invoke in invokes:
        _block(invoke, WARM_UP_NS, clock_ns)
    times: list[list[int]] = [[] for _ in invokes]
    started = clock_ns()
    while not _is_enough(times, clock_ns() - started, seconds):
        for invoke, own in zip(invokes, times, strict=True):
            own.extend(_block(invoke, BLOCK_NS, clock_ns))
    return [summary(own) for own in times]


def summary(times_ns: Sequence[int]) -> Latency:
    """Percentiles in milliseconds of single-call times in nanoseconds."""
    ms = np.asarray(times_ns, np.float64) / 1e6
    p25, p50, p75, p95 = np.percentile(ms, (25, 50, 75, 95))
    return Latency(float(p50), float(p95), float(p75 - p25), len(ms))


def _is_enough(times: list[list[int]], elapsed_ns: int, seconds: float) -> bool:
    fewest = min(len(own) for own in times)
    return fewest >= LEAST_RUNS and (elapsed_ns >= seconds * 1e9 or fewest >= MOST_RUNS)


def _block(invoke: Invoke, at_least_ns: int, clock_ns: Clock) -> list[int]:
    """Single-call times of calls that together take `at_least_ns`; at least one."""
    times: list[int] = []
    end = clock_ns() + at_least_ns
    before = clock_ns()
    while not times or before < end:
        invoke()
        after = clock_ns()
        times.append(after - before)
        before = after
    return times
