"""Interleaved timing, with a clock that the calls themselves move."""

from worker.engine.measuring.latency import interleaved, summary


class Machine:
    """A clock in nanoseconds, and calls that take a known time on it."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.order: list[str] = []

    def clock_ns(self) -> int:
        return self.now_ns

    def call(self, name: str, ms: float) -> None:
        self.order.append(name)
        self.now_ns += int(ms * 1e6)


def test_summary_gives_percentiles_in_milliseconds() -> None:
    latency = summary([int(ms * 1e6) for ms in (1, 2, 3, 4, 5)])
    assert (latency.ms_p50, latency.ms_iqr, latency.runs) == (3.0, 2.0, 5)
    assert 4.0 < latency.ms_p95 < 5.0


def test_interleaved_alternates_blocks_and_tells_the_calls_apart() -> None:
    machine = Machine()
    fast, slow = interleaved(
        [lambda: machine.call("a", 2), lambda: machine.call("b", 5)], 1.0, machine.clock_ns
    )
    assert (fast.ms_p50, slow.ms_p50) == (2.0, 5.0)
    after_warm_up = "".join(machine.order[70:])
    assert "aaaaabbaaaaabb" in after_warm_up
    assert "a" * 6 not in after_warm_up


def test_interleaved_ends_after_the_given_time() -> None:
    machine = Machine()
    interleaved([lambda: machine.call("a", 1)], 0.5, machine.clock_ns)
    assert 0.6e9 <= machine.now_ns <= 0.65e9


def test_interleaved_runs_at_least_twenty_times_when_calls_are_slow() -> None:
    machine = Machine()
    (latency,) = interleaved([lambda: machine.call("a", 400)], 0.5, machine.clock_ns)
    assert latency.runs == 20


def test_interleaved_ends_early_when_calls_are_many() -> None:
    machine = Machine()
    (latency,) = interleaved([lambda: machine.call("a", 0.001)], 100.0, machine.clock_ns)
    assert 5_000 <= latency.runs <= 15_000
