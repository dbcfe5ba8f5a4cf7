"""An honest job in the box gives what it gives without one, bit for bit."""

import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks.security.engine_jobs import BOXED, launcher, run, without_a_box

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
