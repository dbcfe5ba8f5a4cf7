"""A training that is cut off and begun again ends as if nothing had happened."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from app.errors import Cancelled
from app.recipes.steps.recovery import Recovery
from tests.builders import context_for, conv_model, dense_model, randomized, step
from worker.engine.context import StepContext
from worker.engine.techniques import technique
from worker.engine.training.checkpoints import Checkpoints
from worker.engine.training.history import TrainingHistory
from worker.engine.training.interventions import Interventions
from worker.engine.training.teaching import Teaching
from worker.engine.training.trainer import train

ROOT = Path(__file__).parents[4]
OPTIONS = Recovery(epochs=4, learning_rate=0.02, batch_size=20, validation_fraction=0.2)


@dataclass
class CutOff:
    """Cancels at the n-th question."""

    after: int

    def __call__(self) -> None:
        self.after -= 1
        if self.after < 0:
            raise Cancelled("the worker went away")


def kept_in(folder: Path) -> Checkpoints:
    """Saves after every batch."""
    return Checkpoints(folder / "checkpoints", seconds_between=0.0)


def cut_off(context: StepContext, folder: Path, after: int) -> StepContext:
    return replace(context, checkpoints=kept_in(folder), check_cancelled=CutOff(after))


def dropout_model() -> Any:
    first, last = dense_model().layers
    dropout = keras.layers.Dropout(0.5, name="dropout")
    features = keras.Input((4,), name="features")
    return keras.Sequential([features, first, dropout, last], name="dropout_model")


def run(
    model: Any, context: StepContext, options: Recovery = OPTIONS, **interventions: Any
) -> TrainingHistory:
    return train(model, context, options, Interventions(**interventions))


def assert_same_weights(one: Any, other: Any) -> None:
    for mine, theirs in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("after", [3, 6, 11])
@pytest.mark.parametrize(
    ("make", "options"),
    [
        (dropout_model, OPTIONS),
        (conv_model, OPTIONS.model_copy(update={"dtype": "mixed_float16", "optimizer": "sgd"})),
        (
            conv_model,
            Recovery.model_validate({**OPTIONS.model_dump(), "augmentation": {"flip": "both"}}),
        ),
    ],
)
def test_train_goes_on_from_where_it_was_cut_off(
    make: Callable[[], Any], options: Recovery, after: int, tmp_path: Path
) -> None:
    whole, broken, resumed = make(), make(), make()
    context = context_for(whole, tmp_path)
    history = run(whole, context, options)
    with pytest.raises(Cancelled):
        run(broken, cut_off(context, tmp_path, after), options)
    steps: list[int] = []

    again = run(
        resumed,
        replace(context, checkpoints=kept_in(tmp_path)),
        options,
        after_step=steps.append,
    )

    assert len(steps) < history.optimizer_steps
    assert again.resumed_at_step == steps[1] - 1
    assert again == history
    assert_same_weights(resumed, whole)


def test_train_goes_on_with_its_teacher_and_projection(tmp_path: Path) -> None:
    teacher = randomized(conv_model())
    wide = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            keras.layers.Conv2D(7, 3, name="wide"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3, name="logits"),
        ]
    )
    teachings = Teaching([teacher], features=[("wide", "conv")])
    first = wide.get_weights()
    context = context_for(teacher, tmp_path)
    run(wide, context, teaching=teachings)
    wanted = wide.get_weights()
    wide.set_weights(first)
    with pytest.raises(Cancelled):
        run(wide, cut_off(context, tmp_path, 9), teaching=teachings)
    wide.set_weights(first)

    run(wide, replace(context, checkpoints=kept_in(tmp_path)), teaching=teachings)

    for mine, theirs in zip(wide.get_weights(), wanted, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_gradual_pruning_goes_on_with_its_masks(tmp_path: Path) -> None:
    model = randomized(conv_model())
    pruning = step(
        "magnitude_pruning",
        sparsity=0.7,
        schedule="polynomial",
        recovery=OPTIONS.model_dump(mode="json"),
    )
    context = context_for(model, tmp_path)
    apply = technique("magnitude_pruning").apply
    wanted = apply(pruning, model, context)
    with pytest.raises(Cancelled):
        apply(pruning, model, cut_off(context, tmp_path, 12))

    found = apply(pruning, model, replace(context, checkpoints=kept_in(tmp_path)))

    assert_same_weights(found.model, wanted.model)
    for name, mask in wanted.masks.items():
        np.testing.assert_array_equal(found.masks[name], mask)
    assert 0 < found.facts["resumed_at_step"] < found.facts["optimizer_steps"]
    assert found.facts | {"resumed_at_step": None} == wanted.facts


def test_a_finished_training_is_not_done_again(tmp_path: Path) -> None:
    """A job of two trainings that is cut off in the second takes the first from disk."""
    context = context_for(dense_model(), tmp_path)
    wanted = [dense_model(), dense_model()]
    for model in wanted:
        run(model, context)
        context = replace(context, seed=8)
    context = context_for(dense_model(), tmp_path)
    kept = replace(context, checkpoints=kept_in(tmp_path))
    run(dense_model(), kept)
    second = replace(kept, seed=8, check_cancelled=CutOff(9))
    with pytest.raises(Cancelled):
        run(dense_model(), second)

    steps: list[list[int]] = []
    replayed = replace(context, checkpoints=kept_in(tmp_path))
    for model, seed in zip((dense_model(), dense_model()), (7, 8), strict=True):
        steps.append([])
        run(model, replace(replayed, seed=seed), after_step=steps[-1].append)
        assert_same_weights(model, wanted[len(steps) - 1])

    assert steps[0] == [0]
    assert len(steps[1]) > 1


@pytest.mark.parametrize("change", ["weights", "options", "seed", "damaged"])
def test_train_starts_anew_where_a_checkpoint_does_not_fit(
    change: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    context = context_for(dense_model(), tmp_path)
    with pytest.raises(Cancelled):
        run(dense_model(), cut_off(context, tmp_path, 6))
    model, options = dense_model(), OPTIONS
    if change == "weights":
        model = randomized(model)
    if change == "options":
        options = OPTIONS.model_copy(update={"learning_rate": 0.01})
    if change == "seed":
        context = replace(context, seed=99)
    if change == "damaged":
        (file,) = (tmp_path / "checkpoints").iterdir()
        file.write_bytes(file.read_bytes()[:500])
    steps: list[int] = []

    run(model, replace(context, checkpoints=kept_in(tmp_path)), options, after_step=steps.append)

    assert steps == list(range(17))
    said = [name for name in caplog.messages if name.startswith("checkpoint.")]
    assert said == [
        "checkpoint.damaged" if change == "damaged" else "checkpoint.of_another_training"
    ]


def test_a_checkpoint_is_written_only_now_and_then(tmp_path: Path) -> None:
    times = iter(range(1000))
    checkpoints = Checkpoints(tmp_path, clock=lambda: float(next(times)), seconds_between=1e6)
    model = dense_model()

    run(model, replace(context_for(model, tmp_path), checkpoints=checkpoints))

    assert list(tmp_path.glob("training-*")) == []


def test_no_checkpoint_is_written_beyond_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("worker.engine.training.checkpoints.LIMIT_BYTES", 100)
    model = dense_model()

    run(model, replace(context_for(model, tmp_path), checkpoints=kept_in(tmp_path)))

    assert not (tmp_path / "checkpoints").exists()
    assert "checkpoint.too_large" in caplog.messages


def train_and_be_killed(folder: Path, at_step: int) -> None:
    """Run in a process of its own: dies in the middle of a training, without a word."""
    model = dropout_model()

    def die(steps_done: int) -> None:
        if steps_done == at_step:
            os.kill(os.getpid(), signal.SIGKILL)

    (folder / "killed").mkdir()
    context = context_for(model, folder / "killed")
    run(model, replace(context, checkpoints=kept_in(folder)), after_step=die)


def test_train_goes_on_after_its_process_was_killed(tmp_path: Path) -> None:
    """The next process has exactly the weights that one process would have come to."""
    call = f"train_and_be_killed(Path({str(tmp_path)!r}), 10)"
    script = f"from pathlib import Path; from {__name__} import train_and_be_killed; {call}"
    killed = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False)
    whole, resumed = dropout_model(), dropout_model()
    context = context_for(whole, tmp_path)
    history = run(whole, context)
    steps: list[int] = []

    again = run(resumed, replace(context, checkpoints=kept_in(tmp_path)), after_step=steps.append)

    assert killed.returncode == -signal.SIGKILL
    # Step 10 was done, but not yet saved.
    assert steps == [0, *range(10, history.optimizer_steps + 1)]
    assert again == history
    assert_same_weights(resumed, whole)
