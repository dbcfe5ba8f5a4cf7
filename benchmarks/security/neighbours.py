"""What a hostile job takes from an honest one beside it, on a worker that does two at a time.

    python -m benchmarks.security.neighbours [rounds]

An honest job runs alone, then beside each of the trainings of `tests/e2e/faults/hostile_child.py`,
one after another until it is done. Its time alone is that on a worker of two places, too: each
place has its own cores.
"""

import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
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
    """The example's, with two epochs of its six: there are many attacks to stand."""
    found = read_recipe(EXAMPLES / "recipes" / "lenet5.json")
    found["recipe"]["steps"][0]["recovery"]["epochs"] = 2
    return found | {"control": False, "outputs": ["tflite"]}


def attack(home: Path, name: str, cores: Cores) -> float:
    """One hostile job, watched as a worker does it. Returns the seconds until its end."""
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
        _watched(child, Disk(home, 0), started + RUN_S)
        return time.monotonic() - started
    finally:
        child.end()
        starting.thread.shutdown()


def _watched(child: Child, disk: Disk, until: float) -> None:
    watch = Watch(child, child.folder.states, disk)
    while time.monotonic() < until:
        try:
            watch.check()
        except PenjingError:
            return
        if child.read(POLL_S) is None:
            return


@contextmanager
def attacked(home: Path, name: str | None, cores: Cores) -> Iterator[list[float]]:
    """One attack after another, until the block ends."""
    ends: list[float] = []
    is_over = threading.Event()

    def go_on() -> None:
        while name and not is_over.is_set():
            ends.append(attack(home, name, cores))

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


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    alone = [honest_s(None)[0]]
    rows = []
    for name in (name for _ in range(rounds) for name in BEHAVIOURS if name != "telling"):
        beside, ends = honest_s(name)
        alone.append(honest_s(None)[0])
        # Alone right before and right after: the machine may have other work.
        ratio = beside / statistics.mean(alone[-2:])
        told = f"{beside:.1f} s, x {ratio:.2f}; {len(ends)} ended after {ends[0]:.1f} s"
        rows.append((f"beside {name}", told, f"x {ALLOWED}"))
        print(*rows[-1], flush=True)
    spread = f"{min(alone):.1f} to {max(alone):.1f} s"
    print_table("An honest job beside hostile ones", [("alone", spread, ""), *rows])


if __name__ == "__main__":
    main()
