"""Processes that share a training: they do what one would, go on after a crash, end together."""

import errno
import os
import signal
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from app.errors import Cancelled, ReplicaLost
from app.recipes.steps.recovery import Recovery
from tests.builders import context_for, dense_model, randomized
from worker.engine.context import StepContext
from worker.engine.surgery.cloning import clone_with_weights
from worker.engine.training.batches import batches_after, part_of
from worker.engine.training.checkpoints import Checkpoints
from worker.engine.training.gradients.sharing import shares
from worker.engine.training.gradients.wire import HEAD_BYTES, Wire
from worker.engine.training.gradients.words import DONE, GO, Pipes
from worker.engine.training.history import TrainingHistory
from worker.engine.training.interventions import Interventions
from worker.engine.training.trainer import train
from worker.engine.training.zeros import HeldZeros

pytestmark = pytest.mark.slow

Array = NDArray[Any]
LEARNING_RATE = 0.1
WORKERS = 2
# 96 rows: five batches of 19 and one of a single row, which leaves nothing for the second process.
OPTIONS = Recovery.model_validate(
    {
        "epochs": 2,
        "learning_rate": LEARNING_RATE,
        "batch_size": 19,
        "optimizer": "sgd",
        "schedule": "constant",
        "validation_fraction": 0.0,
        "gradient_quantization": {
            "num_bits": 2,
            "scale": "largest",
            "error_feedback": True,
            "workers": WORKERS,
            "compare_with_float32": False,
        },
    }
)
MASK = np.arange(32).reshape(4, 8) % 3 > 0


@dataclass
class Interrupted:
    """Calls something once so many steps are done."""

    at_step: int
    losses: list[float] = field(default_factory=list)
    cancels: bool = False

    def __call__(self, fraction: float, message: str, **metrics: float) -> None:
        if "loss" not in metrics:
            return
        self.losses.append(metrics["loss"])
        if len(self.losses) == self.at_step and not self.cancels:
            os.kill(replicas()[0], signal.SIGKILL)

    def check(self) -> None:
        if self.cancels and len(self.losses) >= self.at_step:
            raise Cancelled("the worker went away")


def replicas() -> list[int]:
    """Processes of this one that share a training with it."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            is_replica = b"training.gradients" in (folder / "cmdline").read_bytes()
        except OSError:  # it ended meanwhile
            continue
        if parent == os.getpid() and is_replica:
            found.append(int(folder.name))
    return found


def kept_in(folder: Path) -> Checkpoints:
    """Saves after every batch."""
    return Checkpoints(folder / "checkpoints", seconds_between=0.0)


def run(model: Any, context: StepContext) -> TrainingHistory:
    zeros = HeldZeros(model, {"hidden/kernel": MASK})
    return train(model, context, OPTIONS, Interventions(zeros=zeros))


def computed(model: Any, context: StepContext) -> list[Array]:
    """Weights after the whole training, by the formulas alone: EF-SGD on two parts of a batch."""
    weights = [weight.numpy() for weight in model.trainable_variables]
    weights[0] = weights[0] * MASK
    momentum = [np.zeros_like(weight) for weight in weights]
    residuals = [[np.zeros_like(weight) for weight in weights] for _ in range(WORKERS)]
    assert context.data is not None
    x, y = context.data.train.take(96)["features"], context.data.train.labels["classes"]
    for batch in batches_after(96, OPTIONS, context.seed, epochs_done=0, seen=0):
        mean = [np.zeros_like(weight) for weight in weights]
        for rank in range(WORKERS):
            part = part_of(batch, rank, WORKERS)
            if not len(part):
                continue
            for index, gradient in enumerate(gradients(model, weights, x[part], y[part])):
                wanted = gradient + residuals[rank][index]
                sent = rounded(wanted)
                residuals[rank][index] = wanted - sent
                mean[index] += sent * len(part) / len(batch)
        momentum = [0.9 * m - LEARNING_RATE * g for m, g in zip(momentum, mean, strict=True)]
        weights = [weight + m for weight, m in zip(weights, momentum, strict=True)]
        weights[0] = weights[0] * MASK
    return weights


def gradients(model: Any, weights: list[Array], x: Array, y: Array) -> list[Array]:
    for variable, weight in zip(model.trainable_variables, weights, strict=True):
        variable.assign(weight)
    with tf.GradientTape() as tape:
        chosen = tf.gather(model(x), y, batch_dims=1)
        loss = -tf.reduce_mean(tf.math.log(chosen))
    return [one.numpy() for one in tape.gradient(loss, model.trainable_variables)]


def rounded(values: Array) -> Array:
    """To -1, 0 or 1 times the largest magnitude."""
    scale = np.abs(values).max()
    return np.round(values / scale) * scale if scale else values


def test_two_processes_do_what_one_would_also_after_a_crash(tmp_path: Path) -> None:
    first = randomized(dense_model())
    broken, resumed = clone_with_weights(first), clone_with_weights(first)
    context = context_for(first, tmp_path)
    cut = Interrupted(at_step=7, cancels=True)
    with pytest.raises(Cancelled):
        run(
            broken,
            replace(
                context,
                report_progress=cut,
                check_cancelled=cut.check,
                checkpoints=kept_in(tmp_path),
            ),
        )
    assert replicas() == []

    history = run(resumed, replace(context, checkpoints=kept_in(tmp_path)))

    assert history.resumed_at_step == 7
    assert history.optimizer_steps == 12
    for mine, wanted in zip(resumed.get_weights(), computed(first, context), strict=True):
        np.testing.assert_allclose(mine, wanted, atol=1e-5)
    figures = history.facts()["gradient_quantization"]
    assert figures["are_replicas_identical"]
    assert figures["workers"] == WORKERS
    assert figures["wire_bytes_per_step"] == WORKERS * (figures["bytes_per_step"] + HEAD_BYTES)
    # The first alone reads heads: it tells the other that all are there.
    read = WORKERS * figures["bytes_per_step"] + HEAD_BYTES
    assert figures["wire_bytes_read_per_step"] == read
    assert list(tmp_path.glob("replicas-*")) == []


def test_a_process_that_dies_ends_the_training(tmp_path: Path) -> None:
    model = dense_model()
    killed = Interrupted(at_step=3)
    context = replace(context_for(model, tmp_path), report_progress=killed)

    with pytest.raises(ReplicaLost, match=r"process 2 .* \(exit status -9\)") as lost:
        run(model, context)

    assert lost.value.code == "replica_lost"
    assert "memory" in (lost.value.hint or "")
    # It may have said its part of the next step before it died.
    assert len(killed.losses) in (3, 4)
    assert replicas() == []
    assert list(tmp_path.glob("replicas-*")) == []


def test_a_process_that_does_not_start_ends_those_that_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []
    start = subprocess.Popen

    def starts_one(*arguments: Any, **options: Any) -> Any:
        if started:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        started.append(start(*arguments, **options))
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", starts_one)
    assert OPTIONS.gradient_quantization is not None
    coding = OPTIONS.gradient_quantization.model_copy(update={"workers": 3})
    model = dense_model()
    three = OPTIONS.model_copy(update={"gradient_quantization": coding})

    with pytest.raises(ReplicaLost, match=r"process 3 .* could not be started") as lost:
        train(model, context_for(model, tmp_path), three, Interventions())

    assert "memory" in (lost.value.hint or "")
    assert started[0].returncode == -signal.SIGKILL
    assert list(tmp_path.glob("replicas-*")) == []


def test_the_rest_of_a_training_has_the_batches_of_the_whole() -> None:
    whole = list(batches_after(50, OPTIONS, 3, epochs_done=0, seen=0))

    assert [len(batch) for batch in whole] == [19, 19, 12] * 2
    assert sorted(np.concatenate(whole[:3])) == list(range(50))
    rest = list(batches_after(50, OPTIONS, 3, epochs_done=1, seen=19))
    for mine, wanted in zip(rest, whole[4:], strict=True):
        np.testing.assert_array_equal(mine, wanted)


def test_parts_of_a_batch_are_the_whole_batch() -> None:
    batch = np.arange(7)

    parts = [part_of(batch, rank, 3) for rank in range(3)]

    np.testing.assert_array_equal(np.concatenate(parts), batch)
    np.testing.assert_allclose(shares(7, 3), [3 / 7, 2 / 7, 2 / 7])


def test_a_wire_keeps_a_step_while_the_next_is_written(tmp_path: Path) -> None:
    wire = Wire(tmp_path / "wire", 2, 3, is_new=True)
    other = Wire(tmp_path / "wire", 2, 3, is_new=False)
    wire.write(0, 0, 0.5, np.array([1, 2, 3], np.uint8))
    assert other.behind(0) == [1]
    other.write(0, 1, 1.5, np.array([4, 5, 6], np.uint8))
    wire.write(1, 0, 9.0, np.zeros(3, np.uint8))

    assert other.behind(0) == []
    assert other.behind(1) == [1]
    np.testing.assert_array_equal(other.messages(0), [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(other.losses(0), [0.5, 1.5])
    assert (wire.written_bytes, wire.read_bytes) == (2 * (3 + HEAD_BYTES), 0)
    # Of the first process: three times its step, one message and one loss.
    assert (other.written_bytes, other.read_bytes) == (3 + HEAD_BYTES, 3 * 8 + 3 + 8)


def test_a_word_is_waited_for_no_longer_than_asked() -> None:
    reading, writing = os.pipe()
    pipes = Pipes(reading, writing)
    assert pipes.hear(within_s=0.0) == b""
    pipes.say(GO)
    pipes.say(DONE)

    assert [pipes.hear(), pipes.hear()] == [GO, DONE]
    os.close(writing)
    with pytest.raises(EOFError):
        pipes.hear()
    os.close(reading)
