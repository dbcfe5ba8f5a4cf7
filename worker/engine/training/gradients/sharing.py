"""What processes that train together have in common, and what each has of its own."""

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.engine.training.batches import part_of
from worker.engine.training.update import Update


def own_variables(update: Update) -> list[Any]:
    """Those that processes have each of their own: moving statistics, chances, feedback."""
    return [*update.model.non_trainable_variables, *update.coding_optimizer.own_variables]


def shared_variables(update: Update) -> list[Any]:
    """Those that must be the same in all processes, bit for bit."""
    return [*update.trainable_variables, *update.coding_optimizer.inner_optimizer.variables]


def digest_of(variables: Iterable[Any]) -> str:
    """The same for the same values, bit for bit."""
    digest = hashlib.sha256()
    for variable in variables:
        digest.update(np.ascontiguousarray(variable.numpy()).tobytes())
    return digest.hexdigest()


def shares(rows: int, workers: int) -> NDArray[np.float32]:
    """Of each process in a batch of so many rows, [workers]."""
    parts = [len(part_of(np.arange(rows), rank, workers)) for rank in range(workers)]
    return (np.array(parts) / rows).astype(np.float32)
