"""What the box costs: the same jobs with it and without, in turns.

    python -m benchmarks.security.overhead [rounds]

Prints processor time and wall clock, and whether files and figures are the same bit for bit. A
round takes about two minutes where nothing else runs. Ends with 1 where the median of processor
time, a file or a figure misses its bound; the wall clock is only told.
"""

import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.common import EXAMPLES, print_table
from benchmarks.security.engine_jobs import BOXED, Run, launcher, read_recipe, run, without_a_box

ALLOWED = 1.05
WAYS = {"without": without_a_box, "boxed": BOXED}


def jobs() -> dict[str, dict[str, Any]]:
    """The examples' recipes, with the kinds of files that are the same twice without a box, too."""
    lenet5 = read_recipe(EXAMPLES / "recipes" / "lenet5.json")
    narrow = read_recipe(EXAMPLES / "recipes" / "lenet5_narrow.json")
    kinds = ["keras", "tflite", "packed"]
    return {"lenet5": lenet5 | {"outputs": kinds}, "lenet5_narrow": narrow | {"outputs": kinds}}


def measured(recipe: dict[str, Any], rounds: int) -> dict[str, list[Run]]:
    """Each round in another order: the machine gets warmer, or busier, for both alike."""
    cores = frozenset(os.sched_getaffinity(0))
    runs: dict[str, list[Run]] = {way: [] for way in WAYS}
    turns = [way for index in range(rounds) for way in sorted(WAYS, reverse=bool(index % 2))]
    with tempfile.TemporaryDirectory(prefix="penjing-") as home:
        for way in turns:
            with launcher(Path(home), WAYS[way]) as starter:
                runs[way].append(run(starter, recipe, cores))
    return runs


def rows(name: str, runs: dict[str, list[Run]]) -> Iterator[tuple[tuple[str, str, str], bool]]:
    """Each with whether its bound is kept; the wall clock has none, others have a part in it."""
    plain, boxed = runs["without"], runs["boxed"]
    everything = [*plain, *boxed]
    told, ratio = _compared([run.cpu_s for run in plain], [run.cpu_s for run in boxed])
    yield (f"{name}: processor time", told, f"x {ALLOWED}"), ratio <= ALLOWED
    told, _ = _compared([run.wall_s for run in plain], [run.wall_s for run in boxed])
    yield (f"{name}: wall clock", told, ""), True
    for what, agree in (
        ("files bit for bit", all(one.artifacts == plain[0].artifacts for one in everything)),
        ("figures", all(one.figures == plain[0].figures for one in everything)),
    ):
        yield (f"{name}: {what}", "the same" if agree else "OTHERS", "the same"), agree


def _compared(plain: list[float], boxed: list[float]) -> tuple[str, float]:
    """Of the medians; the smallest runs are told, too: they were disturbed least."""
    median = statistics.median(boxed) / statistics.median(plain)
    least = min(boxed) / min(plain)
    words = f"{statistics.median(plain):.1f} -> {statistics.median(boxed):.1f} s"
    return f"{words}, x {median:.3f} (least: x {least:.3f})", median


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    found = [row for name, job in jobs().items() for row in rows(name, measured(job, rounds))]
    print_table(
        f"Jobs in the box and without it, {rounds} of each in turns", [row for row, _ in found]
    )
    sys.exit(0 if all(is_kept for _, is_kept in found) else 1)


if __name__ == "__main__":
    main()
