"""What a process does that trains beside others on its part of every batch."""

import os
from pathlib import Path

import numpy as np

from worker.engine.training.batch_norm import short_memory
from worker.engine.training.batches import Positions, batches_after, part_of
from worker.engine.training.gradients.handover import Ending, Handover, read_arrays, write_arrays
from worker.engine.training.gradients.sharing import (
    digest_of,
    own_variables,
    shared_variables,
    shares,
)
from worker.engine.training.gradients.wire import Wire
from worker.engine.training.gradients.words import DONE, FINISH, SAVE, Pipes
from worker.engine.training.trainer import seed_layers
from worker.engine.training.update import compiled_halves

# Far apart: the chances of a process must not be those of the next seed.
BETWEEN_SEEDS = 1_000_003


def take_part(folder: Path, rank: int) -> None:
    """Standard input and output are pipes of `words`; the folder is a `Handover`."""
    # What is printed by whomever must not be taken for a word.
    pipes = Pipes(reading=os.dup(0), writing=os.dup(1))
    os.dup2(2, 1)
    replica = Replica(Handover(folder), rank)
    pipes.say(DONE)
    replica.train(pipes)


class Replica:
    """One of the processes: the model, its rows and its optimizer, as the leader's are."""

    def __init__(self, handover: Handover, rank: int) -> None:
        orders = handover.orders()
        self._handover = handover
        self._orders = orders
        self._rank = rank
        self._workers = orders.options.workers
        self._batches = handover.batches(orders, rank)
        model = handover.model()
        with short_memory(model, orders.steps):
            self._update = handover.update(orders, model, self._batches)
            self._begin_alike()
            self._encode, self._apply = compiled_halves(
                self._update, self._batches.rows, self._batches.targets, orders.options
            )
        self._wire = Wire(handover.wire, self._workers, orders.message_bytes, is_new=False)

    def train(self, pipes: Pipes) -> None:
        """Every step from where the training is, until the leader says that it is over."""
        orders, word = self._orders, b""
        to_come = batches_after(
            len(self._batches),
            orders.options,
            orders.seed,
            epochs_done=orders.epochs_done,
            seen=orders.seen,
        )
        for step, positions in enumerate(to_come, orders.steps_done):
            self._say(step, positions)
            pipes.say(DONE)
            word = pipes.hear()
            if word == FINISH:
                break
            self._apply(self._wire.messages(step), shares(len(positions), self._workers))
            if word == SAVE:
                own = [variable.numpy() for variable in own_variables(self._update)]
                write_arrays(self._handover.state(self._rank), own)
                pipes.say(DONE)
        if word != FINISH:
            pipes.hear()
        digest = digest_of(shared_variables(self._update))
        ending = Ending(
            digest=digest,
            written_bytes=self._wire.written_bytes,
            read_bytes=self._wire.read_bytes,
        )
        self._handover.write_ending(self._rank, ending)
        pipes.say(DONE)

    def _say(self, step: int, positions: Positions) -> None:
        """This process's part of a step; nothing, where a batch has fewer rows than processes."""
        own = part_of(positions, self._rank, self._workers)
        loss, message = 0.0, np.zeros(self._orders.message_bytes, np.uint8)
        if len(own):
            inputs, labels = self._batches.inputs(own, step), self._batches.labels(own)
            found_loss, coded = self._encode(inputs, labels)
            loss, message = float(found_loss), coded.numpy()
        self._wire.write(step, self._rank, loss, message)

    def _begin_alike(self) -> None:
        """Everything as the leader has it, but what is each process's own where it goes on."""
        update, orders, rank = self._update, self._orders, self._rank
        variables = [*update.model.variables, *update.variables_beside]
        for variable, value in zip(variables, self._handover.variables(), strict=True):
            variable.assign(value)
        if not self._handover.state(rank).exists():
            seed_layers(update.model, (orders.seed + rank * BETWEEN_SEEDS) % (1 << 32))
            return
        state = read_arrays(self._handover.state(rank))
        for variable, value in zip(own_variables(update), state, strict=True):
            variable.assign(value)
