"""The process that leads a training which several share: it is one of them, and starts the others.

Each computes the gradients of its part of a batch and writes them, coded, into shared memory; all
read what all wrote, and make the same update of it. So they never exchange weights.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import worker
from app.errors import ReplicaLost
from app.processes import python_without_proc
from app.recipes.steps.recovery import Recovery
from worker.engine.context import StepContext
from worker.engine.tied import TiedProcess
from worker.engine.training.batches import Batches, Positions, part_of
from worker.engine.training.gradients.handover import (
    Ending,
    Handover,
    Orders,
    inputs_of,
    read_arrays,
    write_arrays,
)
from worker.engine.training.gradients.sharing import digest_of, shared_variables, shares
from worker.engine.training.gradients.wire import Wire
from worker.engine.training.gradients.words import DONE, FINISH, GO, SAVE, Pipes
from worker.engine.training.update import Update, compiled_halves

Array = NDArray[Any]
Clock = Callable[[], float]

MODULE = "worker.engine.training.gradients"
IMPORT_ROOT = Path(worker.__file__).parents[1]
POLL_S = 0.2
# Their updates take norms of whole tensors, whose sums depend on the number of threads.
OF_WHOLE_TENSORS = frozenset({"lamb", "adafactor"})
MEMORY_HINT = (
    "It may have run out of memory: lower workers or batch_size, or let the operator raise "
    "PENJING_JOB_MEMORY_BYTES."
)


@dataclass(frozen=True)
class Place:
    """Where a training is when its processes begin: counts of epochs, rows and steps."""

    epochs_done: int
    seen: int
    steps_done: int


class Team:
    """Steps that several processes share; `close` ends them, however the training went."""

    def __init__(
        self,
        update: Update,
        batches: Batches,
        context: StepContext,
        options: Recovery,
        clock: Clock = time.perf_counter,
    ) -> None:
        self._update = update
        self._batches = batches
        self._context = context
        self._options = options
        self._clock = clock
        self._handover = Handover(context.scratch / f"replicas-{context.checkpoints.trainings}")
        self._encode, self._apply = compiled_halves(update, batches.rows, batches.targets, options)
        self._message_bytes = update.coding_optimizer.message_bytes
        self._others: list[_Other] = []
        self._wire: Wire | None = None
        # Of all processes; known at the end.
        self.written_bytes: int | None = None
        self.read_bytes: int | None = None
        self.exchange_s: list[float] = []
        self.are_identical: bool | None = None

    @property
    def workers(self) -> int:
        return self._options.workers

    def start(
        self, place: Place, variables: Sequence[Any], states: Mapping[int, Sequence[Array]]
    ) -> None:
        """Start the others from the leader's `variables`, and of each what it left on disk before.

        Raises: ReplicaLost; Cancelled.
        """
        orders = Orders(
            options=self._options,
            tasks=self._context.tasks,
            inputs=inputs_of(self._batches.rows),
            seed=self._context.seed,
            steps=self._context.optimizer_steps(self._options),
            message_bytes=self._message_bytes,
            epochs_done=place.epochs_done,
            seen=place.seen,
            steps_done=place.steps_done,
        )
        self._handover.write(orders, self._update.model, self._batches, self._update.zeros)
        self._handover.write_variables(variables)
        for rank, arrays in states.items():
            write_arrays(self._handover.state(rank), arrays)
        self._wire = Wire(self._handover.wire, self.workers, self._message_bytes, is_new=True)
        environment = _environment(self._options)
        for rank in range(1, self.workers):
            # One by one: `close` has to know those that run where a later one does not start.
            self._others.append(_Other(self._handover, rank, environment))
        self._context.report_progress(0.0, f"starting {len(self._others)} more processes")
        self._await_all()

    def step(self, positions: Positions, step: int, *, is_saved: bool) -> float:
        """One step of all; `is_saved`: each leaves its state on disk. Returns: the batch's loss.

        Raises: ReplicaLost; Cancelled.
        """
        assert self._wire is not None, "started before"  # for mypy
        own = part_of(positions, 0, self.workers)
        loss, message = self._encode(self._batches.inputs(own, step), self._batches.labels(own))
        coded = message.numpy()
        started = self._clock()
        self._wire.write(step, 0, float(loss), coded)
        self._await_all()
        behind = self._wire.behind(step)
        if behind:
            raise ReplicaLost(f"process {behind[0] + 1} of {self.workers} is not in step {step}")
        self._tell_all(SAVE if is_saved else GO)
        self.exchange_s.append(self._clock() - started)
        weights = shares(len(positions), self.workers)
        self._apply(self._wire.messages(step), weights)
        if is_saved:
            self._await_all()
        return float(np.dot(weights, self._wire.losses(step)))

    def states(self) -> dict[int, list[Array]]:
        """What each of the others last left on disk, by rank."""
        return {other.rank: read_arrays(self._handover.state(other.rank)) for other in self._others}

    def finish(self) -> None:
        """End the training of all.

        Raises: ReplicaLost if they have not the same weights and moments, bit for bit.
        """
        self._tell_all(FINISH)
        self._await_all()
        wanted = digest_of(shared_variables(self._update))
        endings = {other.rank: self._handover.ending(other.rank) for other in self._others}
        for rank, ending in endings.items():
            if ending.digest != wanted:
                raise ReplicaLost(
                    f"process {rank + 1} of {self.workers} ended with other weights than the first",
                    hint="Train in one process (workers: 1), and please report it.",
                )
        self.are_identical = True
        ends: list[Wire | Ending] = [self._wire, *endings.values()] if self._wire else []
        self.written_bytes = sum(one.written_bytes for one in ends)
        self.read_bytes = sum(one.read_bytes for one in ends)

    def close(self) -> None:
        """End what still runs, and take the folder away."""
        for other in self._others:
            other.close()
        self._others = []
        shutil.rmtree(self._handover.folder, ignore_errors=True)

    def _tell_all(self, word: bytes) -> None:
        for other in self._others:
            other.tell(word)

    def _await_all(self) -> None:
        for other in self._others:
            while not other.is_done(POLL_S):
                self._context.check_cancelled()


class _Other:
    """One of the other processes."""

    def __init__(self, handover: Handover, rank: int, environment: Mapping[str, str]) -> None:
        """Raises: ReplicaLost if the system starts no more of them."""
        self.rank = rank
        told = (str(handover.folder), str(rank), str(os.getpid()))
        command = [*python_without_proc(), "-m", MODULE, *told]
        try:
            self._tied = _started(command, handover.log(rank), environment)
        except OSError as error:
            raise ReplicaLost(
                f"process {rank + 1} of a training that several share could not be started: "
                f"{error}",
                hint=MEMORY_HINT,
            ) from error
        self._process = self._tied.process
        assert self._process.stdin is not None, "a pipe"  # for mypy
        assert self._process.stdout is not None, "a pipe"  # for mypy
        self._pipes = Pipes(self._process.stdout.fileno(), self._process.stdin.fileno())

    def tell(self, word: bytes) -> None:
        # It died; what it says next is its end.
        with suppress(BrokenPipeError):
            self._pipes.say(word)

    def is_done(self, within_s: float) -> bool:
        """Raises: ReplicaLost if it is gone."""
        try:
            return self._pipes.hear(within_s) == DONE
        except EOFError:
            status = self._process.wait()
            raise ReplicaLost(
                f"process {self.rank + 1} of a training that several share ended "
                f"(exit status {status})",
                hint=MEMORY_HINT,
            ) from None

    def close(self) -> None:
        self._tied.end()


def _started(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> TiedProcess:
    """One of our own modules, without a shell."""
    with log.open("wb") as errors:
        return TiedProcess(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
        )


def _environment(options: Recovery) -> dict[str, str]:
    """As this process's, with the processor divided where that changes no sum."""
    divides = options.optimizer not in OF_WHOLE_TENSORS and options.gradient_clip_norm is None
    threads = str(max(1, (os.cpu_count() or 1) // options.workers))
    given = {name: value for name, value in os.environ.items() if name.startswith("TF_NUM_")}
    divided = {"TF_NUM_INTRAOP_THREADS": threads} if divides else {}
    return {
        **os.environ,
        **divided,
        **given,
        "PYTHONPATH": str(IMPORT_ROOT),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
        "KERAS_BACKEND": "tensorflow",
    }
