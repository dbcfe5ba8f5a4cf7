"""Accuracy of a model on its test rows by bits, rounding and granularity; weights alone.

    python -m benchmarks.numbers.weight_quantization model.keras data.npz --divisor 255

Inputs are divided by `--divisor`. Rounding by chance is the median of three seeds; adaptive
rounding sees `--rows` training rows. Nothing is trained and nothing chosen by test rows.
"""

import statistics
import tempfile
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.numbers.engine_steps import Bench, options, step_of
from worker.engine.techniques.weight_quantization import apply

BITS = (8, 4, 3, 2)
GRANULARITIES = ("per_tensor", "per_channel", "per_group")
ROUNDINGS: dict[str, dict[str, Any]] = {
    "nearest": {},
    "nearest, mse range": {"range": "mse"},
    "stochastic": {"rounding": "stochastic"},
    "integer, unscaled": {"rounding": "integer", "integer_scaling": "none"},
    "adaptive": {"rounding": "adaptive"},
    "adaptive, mse range": {"rounding": "adaptive", "range": "mse"},
    "adaptive, mse, affine": {"rounding": "adaptive", "range": "mse", "symmetric": False},
}
SEEDS = (0, 1, 2)


def main() -> None:
    given = options(__doc__, rows=1024)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench.of(given.model, given.data, given.divisor, Path(folder))
        print(f"{given.model.name}: float32 {100 * bench.score(bench.model):.2f} %")
        print(f"{'accuracy on test rows in %':40}" + "".join(f"{bits:>3} bits" for bits in BITS))
        for (name, rounding), granularity in product(ROUNDINGS.items(), GRANULARITIES):
            seen = {"calibration_samples": given.rows} if "adaptive" in name else {}
            parameters = {**rounding, **seen, "granularity": granularity}
            scores = [_median(bench, {**parameters, "num_bits": bits}) for bits in BITS]
            row = "".join(f"{100 * score:8.2f}" for score in scores)
            print(f"{name:27} {granularity:12}{row}", flush=True)


def _median(bench: Bench, parameters: dict[str, Any]) -> float:
    seeds = SEEDS if parameters.get("rounding") == "stochastic" else SEEDS[:1]
    step = step_of("weight_quantization", parameters)
    contexts = (replace(bench.context, seed=seed) for seed in seeds)
    return statistics.median(bench.score(apply(step, bench.model, one).model) for one in contexts)


if __name__ == "__main__":
    main()
