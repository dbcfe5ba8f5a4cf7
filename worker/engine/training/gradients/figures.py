"""What coding gradients came to, as plain values for a step's report."""

import math
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.engine.training.gradients.optimizer import GradientQuantizingOptimizer
from worker.engine.training.gradients.team import Team

FLOAT32_BYTES = 4


def coding_figures(
    optimizer: GradientQuantizingOptimizer, team: Team | None, seconds_per_step: float | None
) -> dict[str, Any]:
    """Sizes of one process's gradients in one step, what their symbols carry, and the wire.

    `bits_per_coordinate` counts all of a message, scales and filled-up bytes too.
    `entropy_bits_per_symbol` is what an ideal coder of single symbols would need, over the steps
    that were sampled. `wire_bytes_per_step` is what all processes wrote, each counting its own, and
    `wire_bytes_read_per_step` what they read of each other. Times are medians over this attempt's
    steps; waiting for the slowest process is part of an exchange.
    """
    coordinates, coded = optimizer.coordinates, optimizer.message_bytes
    plain = FLOAT32_BYTES * coordinates
    return {
        "coordinates": coordinates,
        "float32_bytes_per_step": plain,
        "bytes_per_step": coded,
        "bits_per_coordinate": 8 * coded / coordinates if coordinates else None,
        "compression_ratio": plain / coded if coded else None,
        "entropy_bits_per_symbol": entropy_bits(optimizer.symbol_counts),
        "sampled_steps": optimizer.sampled_steps,
        "seconds_per_step": seconds_per_step,
        "workers": team.workers if team else 1,
        **(_of_team(team) if team else {}),
    }


def _of_team(team: Team) -> dict[str, Any]:
    steps = len(team.exchange_s)
    return {
        "wire_bytes_per_step": _each(team.written_bytes, steps),
        "wire_bytes_read_per_step": _each(team.read_bytes, steps),
        "exchange_seconds_per_step": median(team.exchange_s) if steps else None,
        "are_replicas_identical": team.are_identical,
    }


def _each(count: int | None, steps: int) -> float | None:
    return count / steps if count is not None and steps else None


def entropy_bits(counts: NDArray[np.int64]) -> float | None:
    """-sum p log2 p of symbols that came so often; null where none was counted."""
    total = int(counts.sum())
    shares = [int(count) / total for count in counts if count]
    return -sum(share * math.log2(share) for share in shares) + 0.0 if total else None
