"""One job on MNIST, run by the engine in this process: no service around it, nobody watching."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from app.recipes.outputs import OutputKind
from worker.engine.order import Event, Order, Result
from worker.engine.run import run

SCALE = 1 / 255
KEPT_ASIDE = 5_000


def write_digits(mnist: Path, target: Path, *, choosing: bool) -> None:
    """The digits of a job; choosing: training digits kept aside stand in for the test split."""
    with np.load(mnist) as digits:
        arrays = {name: digits[name] for name in ("x_train", "y_train", "x_test", "y_test")}
    if choosing:
        for name in ("x", "y"):
            whole = arrays[f"{name}_train"]
            arrays[f"{name}_train"] = whole[:-KEPT_ASIDE]
            arrays[f"{name}_test"] = whole[-KEPT_ASIDE:]
    np.savez(target, **arrays)


def carried_out(
    model: Path,
    digits: Path,
    recipe: Mapping[str, Any],
    outputs: Sequence[OutputKind],
    folder: Path,
) -> Result:
    """Carry out one job in an empty folder, where its files stay."""
    order = Order.model_validate(
        {
            "job_id": "job_1",
            "model": {"path": model, "format": "keras", "name": model.name, "sha256": "0" * 64},
            "dataset": {
                "path": digits,
                "format": "npz",
                "sha256": "0" * 64,
                "options": {"scale": SCALE},
            },
            "recipe": recipe,
            "outputs": tuple(outputs),
            "constraints": {},
            "control": False,
        }
    )
    return run(order, folder, _unheard)


def _unheard(event: Event) -> None:
    """Nobody listens to a benchmark's progress."""
