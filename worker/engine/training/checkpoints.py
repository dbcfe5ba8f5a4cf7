"""States of trainings on disk, from which a later attempt of the same job goes on.

A job is replayed: its steps run again in the same order, and each training finds what was saved of
it by its place among the trainings of the job. What is saved fits only a training that starts from
the same weights with the same options, so replaying gives what one attempt would have given.
"""

import json
import logging
import os
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)

Array = NDArray[Any]
Clock = Callable[[], float]

FACTS = "facts.json"
SECONDS_BETWEEN = 30.0
# Of one job. A state is about four times the model: weights, two moments, the best epoch.
LIMIT_BYTES = 4 << 30


@dataclass(frozen=True)
class State:
    """Arrays by name, and everything else as JSON."""

    arrays: Mapping[str, Array]
    facts: Mapping[str, Any]


@dataclass
class Checkpoints:
    """The folder of one job; null = nothing is kept. `trainings` counts those begun so far."""

    folder: Path | None = None
    clock: Clock = time.monotonic
    seconds_between: float = SECONDS_BETWEEN
    trainings: int = 0
    saved_at: float = field(init=False)

    def __post_init__(self) -> None:
        self.saved_at = self.clock()

    def next(self) -> "Checkpoint":
        """The place of the training that begins now."""
        self.trainings += 1
        path = self.folder / f"training-{self.trainings}.npz" if self.folder else None
        return Checkpoint(self, path, self.clock())


@dataclass(frozen=True)
class Checkpoint:
    """One training's state on disk; replaced as a whole, so that there is always a whole one."""

    of_job: Checkpoints
    path: Path | None
    begun_at: float

    @property
    def is_due(self) -> bool:
        """Whether so much was done since the last save of the job that it should not be lost."""
        job = self.of_job
        return self.path is not None and job.clock() - job.saved_at >= job.seconds_between

    @property
    def is_worth_keeping(self) -> bool:
        """Whether a finished training took so long that it should not be done again."""
        job = self.of_job
        return self.path is not None and job.clock() - self.begun_at >= job.seconds_between / 10

    def save(self, fingerprint: str, state: State) -> None:
        """Write the state, unless the job's states would become too large."""
        path, job = self.path, self.of_job
        if path is None:
            return
        job.saved_at = job.clock()
        size = sum(array.nbytes for array in state.arrays.values())
        others = sum(file.stat().st_size for file in path.parent.glob("*.npz") if file != path)
        if size + others > LIMIT_BYTES:
            log.warning("checkpoint.too_large", extra={"size_bytes": size})
            return
        facts = json.dumps({"fingerprint": fingerprint, **state.facts}).encode()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # An attempt that was taken for dead may still write: each has a file of its own.
        unfinished = path.with_suffix(f".{os.getpid()}.part")
        with unfinished.open("wb") as file:
            arrays = {name: _plain(array) for name, array in state.arrays.items()}
            arrays[FACTS] = np.frombuffer(facts, np.uint8)
            np.savez(file, **arrays)  # type: ignore[arg-type]  # names are typed as `allow_pickle`
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)

    def load(self, fingerprint: str) -> State | None:
        """What was saved of this very training; None if nothing was, or it does not fit."""
        if self.path is None or not self.path.exists():
            return None
        try:
            # Opened here: what numpy opens itself stays open where it cannot read it.
            with self.path.open("rb") as file, np.load(file, allow_pickle=False) as content:
                arrays = {name: content[name] for name in content.files}
            facts = json.loads(arrays.pop(FACTS).tobytes())
            found = facts.pop("fingerprint")
        except (
            OSError,
            EOFError,
            KeyError,
            ValueError,
            AttributeError,
            zipfile.BadZipFile,
        ) as error:
            log.warning("checkpoint.damaged", extra={"why": repr(error)})
            return None
        if found != fingerprint:
            log.warning("checkpoint.of_another_training", extra={"training": self.path.stem})
            return None
        return State(arrays, facts)


def _plain(array: Array) -> Array:
    """Files of numpy know no bfloat16; every one is a float32 too."""
    return array.astype(np.float32) if array.dtype.kind == "V" else array
