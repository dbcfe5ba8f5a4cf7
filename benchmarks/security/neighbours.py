"""What a hostile job takes from an honest one beside it, on a worker that does two at a time.

    python -m benchmarks.security.neighbours [rounds [behaviour ...]]

An honest job runs alone, then beside each of the trainings of `tests/e2e/faults/hostile_child.py`,
one after another until it is done. Its time alone is that on a worker of two places, too: each
place has its own cores. A round of all takes about 5 minutes where nothing else runs, and no more
than about 10: what it did not come to by then counts as missed. Ends with 1 where a bound is.
"""

import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from app.errors import PenjingError
from app.settings import Settings
from benchmarks.common import EXAMPLES, print_table
from benchmarks.security.engine_jobs import launcher, order_of, read_recipe, run
from tests.e2e.faults.hostile_child import BEHAVIOURS
from worker.children import Child
from worker.cores import Cores, shares_of_this_machine
from worker.disk import Disk
from worker.engine.order import ORDER
from worker.launching import Launcher
from worker.limits import Limits
from worker.watch import Watch

ALLOWED = 1.3
# Of a round; a behaviour that was begun is measured to its end.
MOST_S = 540.0
# They take nothing from others, or tell what they should not.
ATTACKS = tuple(name for name in BEHAVIOURS if name not in ("orphans", "telling"))
ROOT = Path(__file__).parents[2]
LIMITS = replace(
    Limits.from_settings(Settings()),
    memory_bytes=1 << 30,
    tasks=64,
    disk_bytes=1 << 30,
    files=5_000,
    output_bytes=1 << 30,
    readable=(str(ROOT / "tests"),),
)
HOSTILE = (
    "import sys; from pathlib import Path; from worker.engine.order import Event; import os; "
    "from tests.e2e.faults.hostile_child import BEHAVIOURS; "
    "BEHAVIOURS[{name!r}](Path(sys.argv[2]), "
    "lambda event: os.write(int(sys.argv[1]), event.as_line()))"
)
# What a job's own limit is, `limits.run_s`, where nothing else ends it.
RUN_S = 20.0
POLL_S = 0.25


def honest_recipe() -> dict[str, Any]:
    """The example's, with one epoch of its six: there are many attacks to stand."""
    found = read_recipe(EXAMPLES / "recipes" / "lenet5.json")
    found["recipe"]["steps"][0]["recovery"]["epochs"] = 1
    return found | {"control": False, "outputs": ["tflite"]}


def attack(home: Path, name: str, cores: Cores, is_over: threading.Event) -> float | None:
    """One hostile job, watched as a worker does it.

    Returns: the seconds until its end; None where there was nobody left to attack before.
    """
    starting = replace(
        Launcher.of_engine(LIMITS, home),
        program=(sys.executable, "-c", HOSTILE.format(name=name)),
        compiled=None,
    )
    started = time.monotonic()
    child = starting.start(cores)
    try:
        order = order_of(honest_recipe(), child.folder.inputs, child.folder.states)
        (child.folder.path / ORDER).write_text(order.model_dump_json())
        is_ended = _watched(child, Disk(home, 0), started + RUN_S, is_over)
        return time.monotonic() - started if is_ended else None
    finally:
        child.end()
        starting.thread.shutdown()


def _watched(child: Child, disk: Disk, until: float, is_over: threading.Event) -> bool:
    """Whether it came to its end, or to its limit."""
    watch = Watch(child, child.folder.states, disk)
    while time.monotonic() < until:
        if is_over.is_set():
            return False
        try:
            watch.check()
        except PenjingError:
            return True
        if child.read(POLL_S) is None:
            return True
    return True


@contextmanager
def attacked(home: Path, name: str | None, cores: Cores) -> Iterator[list[float]]:
    """One attack after another, until the block ends."""
    ends: list[float] = []
    is_over = threading.Event()

    def go_on() -> None:
        while name and not is_over.is_set():
            if (end := attack(home, name, cores, is_over)) is not None:
                ends.append(end)

    attacker = threading.Thread(target=go_on)
    attacker.start()
    try:
        yield ends
    finally:
        is_over.set()
        attacker.join()


def honest_s(name: str | None) -> tuple[float, list[float]]:
    """Seconds of the honest job, and of each attack beside it."""
    mine, other = shares_of_this_machine(2)
    with tempfile.TemporaryDirectory(prefix="penjing-") as folder:
        home = Path(folder)
        (home / "a").mkdir()
        (home / "b").mkdir()
        with launcher(home / "a") as starter, attacked(home / "b", name, other) as ends:
            return run(starter, honest_recipe(), mine).wall_s, ends


@dataclass
class Neighbours:
    """What was measured so far."""

    alone: list[float] = field(default_factory=list)
    rows: list[tuple[str, str, str]] = field(default_factory=list)
    missed: int = 0

    def measure(self, names: Sequence[str]) -> None:
        """A round: each between two runs alone, since the machine may have other work."""
        until = time.monotonic() + MOST_S
        self.alone.append(honest_s(None)[0])
        for name in names:
            if time.monotonic() > until:
                self._note(name, "not tried: the time is up", is_missed=True)
                continue
            beside, ends = honest_s(name)
            self.alone.append(honest_s(None)[0])
            ratio = beside / statistics.mean(self.alone[-2:])
            ended = f"{len(ends)} ended" + (f" after {ends[0]:.1f} s" if ends else "")
            self._note(name, f"{beside:.1f} s, x {ratio:.2f}; {ended}", is_missed=ratio > ALLOWED)

    def _note(self, name: str, told: str, *, is_missed: bool) -> None:
        self.missed += is_missed
        self.rows.append((f"beside {name}", told, f"x {ALLOWED}"))
        print(*self.rows[-1], flush=True)


def main() -> None:
    rounds, names = int((sys.argv[1:] or ["1"])[0]), sys.argv[2:] or ATTACKS
    print(f"{len(names)} attacks, at most about {rounds * MOST_S / 60 + 1:.0f} minutes", flush=True)
    found = Neighbours()
    for _ in range(rounds):
        found.measure(names)
    spread = f"{min(found.alone):.1f} to {max(found.alone):.1f} s"
    print_table("An honest job beside hostile ones", [("alone", spread, ""), *found.rows])
    sys.exit(1 if found.missed else 0)


if __name__ == "__main__":
    main()
