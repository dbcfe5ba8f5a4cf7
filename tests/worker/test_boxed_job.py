"""An honest job in the box gives what it gives without one, bit for bit."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from app.confinement import BoxOrder, Confinement, boxed, libraries
from app.errors import Cancelled
from benchmarks.security.engine_jobs import BOXED, launcher, ready_child, run, without_a_box
from worker.children import Child
from worker.engine.order import CANCEL, Event

# No training: a quarter of the seconds.
QUICK = {
    "recipe": {
        "seed": 7,
        "steps": [
            {"technique": "magnitude_pruning", "sparsity": 0.5},
            {"technique": "full_integer_quantization", "calibration_samples": 20},
        ],
    },
    "outputs": ["tflite"],
}
WHOLE = {
    "recipe": {
        "seed": 7,
        "steps": [
            {"technique": "magnitude_pruning", "sparsity": 0.5, "recovery": {"epochs": 1}},
            {"technique": "weight_clustering", "number_of_clusters": 16},
        ],
    },
    "outputs": ["keras", "tflite", "packed", "c_array"],
}
# Trained by two processes, which speak by pipes and shared memory.
DIVIDED = {
    "recipe": {
        "seed": 7,
        "steps": [
            {
                "technique": "fine_tuning",
                "epochs": 1,
                "gradient_quantization": {
                    "num_bits": 4,
                    "workers": 2,
                    "compare_with_float32": False,
                },
            },
        ],
    },
    "outputs": ["keras", "tflite"],
}
AT_LENGTH = [pytest.param(recipe, marks=pytest.mark.hostile) for recipe in (WHOLE, DIVIDED)]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [QUICK, *AT_LENGTH])
def test_boxed_job_gives_the_same_files_and_figures(tmp_path: Path, recipe: dict[str, Any]) -> None:
    cores = frozenset(os.sched_getaffinity(0))
    found = []
    for name, enclose in (("open", without_a_box), ("boxed", BOXED)):
        (tmp_path / name).mkdir()
        with launcher(tmp_path / name, enclose) as starter:
            found.append(run(starter, recipe, cores))

    plain, boxed = found
    assert plain.artifacts
    assert boxed.artifacts == plain.artifacts
    assert boxed.figures == plain.figures
    assert list((tmp_path / "boxed").iterdir()) == []


OLDEST_ABI = 1
SILENT_S = 60.0


def of_the_oldest_kernel(
    allowed: Confinement, program: Sequence[str], parent_pid: int
) -> list[str]:
    """Where a job moves no files between folders, and signals its first process alone."""
    return boxed(BoxOrder(allowed, parent_pid, libraries(), OLDEST_ABI), program)


@pytest.mark.slow
def test_job_cancelled_while_it_measures_says_so_on_the_oldest_kernel(tmp_path: Path) -> None:
    with launcher(tmp_path, of_the_oldest_kernel) as starter:
        child = ready_child(starter, QUICK, frozenset(os.sched_getaffinity(0)))
        try:
            child.go()
            problems = []
            for event in events_of(child):
                if event.phase == "measuring":
                    (child.folder.path / CANCEL).touch()
                problems += [event.problem.code] if event.problem else []
            assert problems == [Cancelled.code]
            assert child.ends_within(SILENT_S)
            assert child.use().pids in ((), (child.process.pid,))
        finally:
            child.end()


@pytest.mark.slow
@pytest.mark.hostile
def test_job_of_two_processes_ends_well_on_the_oldest_kernel(tmp_path: Path) -> None:
    with launcher(tmp_path, of_the_oldest_kernel) as starter:
        assert run(starter, DIVIDED, frozenset(os.sched_getaffinity(0))).artifacts


def events_of(child: Child) -> Iterator[Event]:
    """Up to its last word."""
    while events := child.read(SILENT_S):
        yield from events
        if events[-1].event in ("done", "error"):
            return
    raise AssertionError(f"it ended without a word: {child.log_tail()}")
