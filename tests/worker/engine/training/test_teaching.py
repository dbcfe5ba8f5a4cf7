"""Learning from teachers: what is asked, how often, and what comes of it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from app.errors import Cancelled, StepFailed
from app.recipes.steps.recovery import Recovery
from tests.builders import (
    MODELS,
    branched_model,
    context_for,
    conv_model,
    dense_model,
    outputs_of,
    randomized,
)
from worker.engine.context import StepContext
from worker.engine.surgery.cloning import clone_with_weights
from worker.engine.surgery.weights import named_weights
from worker.engine.training import teachers
from worker.engine.training.history import TrainingHistory
from worker.engine.training.interventions import Interventions
from worker.engine.training.lessons import Lessons
from worker.engine.training.teaching import Teaching, asked_teaching
from worker.engine.training.trainer import train
from worker.engine.training.zeros import HeldZeros

# Teachers here know nothing of the labels, so no epoch is chosen by those.
PURE = Recovery(epochs=30, learning_rate=0.02, batch_size=24, validation_fraction=0)


def taught(
    student: Any,
    context: StepContext,
    teaching: Teaching | None,
    options: Recovery = PURE,
    **interventions: Any,
) -> TrainingHistory:
    return train(student, context, options, Interventions(teaching=teaching, **interventions))


def distance(student: Any, teacher: Any, context: StepContext) -> float:
    """Largest difference of any output on the training rows."""
    assert context.data is not None
    rows = context.data.train.take(1000)
    pairs = zip(outputs_of(student, rows), outputs_of(teacher, rows), strict=True)
    return max(float(np.abs(mine - other).mean()) for mine, other in pairs)


@pytest.mark.parametrize("activation", ["relu", "tanh", "hard_sigmoid"])
def test_teacher_of_unknown_scale_is_refused(activation: str, tmp_path: Path) -> None:
    student, teacher = dense_model(), dense_model(activation=activation)
    context = context_for(student, tmp_path)

    with pytest.raises(StepFailed, match="cannot be turned into logits"):
        taught(student, context, Teaching([teacher]))


@pytest.mark.parametrize("soft_loss", ["kl", "mse", "cosine"])
@pytest.mark.parametrize("kind", ["dense", "conv", "branched", "embedding"])
def test_train_brings_a_student_close_to_its_teacher(
    kind: str, soft_loss: Any, tmp_path: Path
) -> None:
    teacher, student = randomized(MODELS[kind]()), randomized(MODELS[kind](), seed=5)
    context = context_for(teacher, tmp_path)
    before = distance(student, teacher, context)

    epochs = taught(student, context, Teaching([teacher], 2.0, 1.0, soft_loss)).epochs

    assert epochs[-1].train_loss < 0.5 * epochs[0].train_loss
    # A cosine says nothing of how large logits are.
    assert soft_loss == "cosine" or distance(student, teacher, context) < 0.7 * before


def test_train_learns_from_a_sigmoid_head(tmp_path: Path) -> None:
    teacher, student = (randomized(MODELS["recurrent"](), seed=seed) for seed in (1, 2))
    context = context_for(teacher, tmp_path)
    before = distance(student, teacher, context)

    taught(student, context, Teaching([teacher], distillation_weight=1.0))

    assert distance(student, teacher, context) < 0.7 * before


def test_train_asks_a_teacher_once_for_all_epochs_and_steps(tmp_path: Path) -> None:
    teacher = randomized(dense_model())
    context = context_for(teacher, tmp_path)
    for _ in range(2):
        taught(clone_with_weights(teacher), context, Teaching([teacher]), Recovery(epochs=3))

    files = list((tmp_path / "teachers").iterdir())

    assert len(files) == 1
    rows, _ = context.divided(0.1)
    answers = np.load(files[0])
    assert answers.shape == (len(rows), 3)
    (probabilities,) = outputs_of(teacher, rows.take(len(rows)))
    softmax = np.exp(answers) / np.exp(answers).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(softmax, probabilities, atol=1e-6)


def test_train_keeps_answers_of_other_weights_apart(tmp_path: Path) -> None:
    context = context_for(dense_model(), tmp_path)
    for seed in (1, 2):
        teacher = randomized(dense_model(), seed=seed)
        taught(dense_model(), context, Teaching([teacher]), Recovery(epochs=1))

    assert len(list((tmp_path / "teachers").iterdir())) == 2


def lessons_on(
    context: StepContext, given: Sequence[Any], student: Any = None, **kwargs: Any
) -> Lessons:
    rows, _ = context.divided(0.1)
    return Lessons(Teaching(given), student or dense_model(), context, rows, **kwargs)


def test_lessons_average_the_logits_of_teachers(tmp_path: Path) -> None:
    given = [randomized(dense_model(), seed=seed) for seed in (1, 2)]
    context = context_for(dense_model(), tmp_path)
    positions = np.array([5, 0])

    (mean,) = lessons_on(context, given).answers(positions)
    alone = [lessons_on(context, [teacher]).answers(positions)[0] for teacher in given]

    np.testing.assert_allclose(mean, (alone[0] + alone[1]) / 2, rtol=1e-6)


@pytest.mark.parametrize("reason", ["augmented", "too large"])
def test_train_asks_on_each_batch_what_cannot_be_kept(
    reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason == "too large":
        monkeypatch.setattr(teachers, "CACHE_LIMIT_BYTES", 100)
    given = [randomized(dense_model(), seed=seed) for seed in (1, 2)]
    context = context_for(dense_model(), tmp_path)

    lessons = lessons_on(context, given, is_augmented=reason == "augmented")

    assert not lessons.is_cached
    assert lessons.answers(np.array([0])) == []


def test_train_learns_the_same_from_kept_answers_and_from_asking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = []
    for limit in (teachers.CACHE_LIMIT_BYTES, 100):
        monkeypatch.setattr(teachers, "CACHE_LIMIT_BYTES", limit)
        given = [randomized(branched_model(), seed=seed) for seed in (1, 2)]
        student = branched_model()
        folder = tmp_path / str(limit)
        folder.mkdir()
        taught(student, context_for(student, folder), Teaching(given), Recovery(epochs=2))
        weights.append(student.get_weights())

    for kept, asked in zip(*weights, strict=True):
        np.testing.assert_allclose(kept, asked, atol=1e-5)


def test_train_weighs_the_labels_against_the_teacher(tmp_path: Path) -> None:
    """A weight of 0 is the training without a teacher, to the last bit."""
    alone, weightless = dense_model(), dense_model()
    context = context_for(alone, tmp_path)
    teacher = randomized(dense_model())

    taught(alone, context, None, Recovery(epochs=2))
    taught(weightless, context, Teaching([teacher], distillation_weight=0.0), Recovery(epochs=2))

    for one, other in zip(alone.get_weights(), weightless.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_train_leaves_the_teacher_as_it_was(tmp_path: Path) -> None:
    teacher = randomized(conv_model())
    before = [value.copy() for value in teacher.get_weights()]

    taught(conv_model(), context_for(teacher, tmp_path), Teaching([teacher]), Recovery(epochs=1))

    assert teacher.trainable
    for now, was in zip(teacher.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, was)


def test_train_holds_zeros_while_it_learns_from_a_teacher(tmp_path: Path) -> None:
    teacher = randomized(dense_model())
    student = clone_with_weights(teacher)
    mask = np.random.default_rng(0).random((4, 8)) > 0.5
    zeros = HeldZeros(student, {"hidden/kernel": mask})

    taught(student, context_for(student, tmp_path), Teaching([teacher]), zeros=zeros)

    kernel = named_weights(student)["hidden/kernel"].numpy()
    assert not kernel[~mask].any()
    assert kernel[mask].all()


def test_distill_alone_learns_from_the_uploaded_model(tmp_path: Path) -> None:
    teacher, student = randomized(dense_model()), randomized(dense_model(), seed=5)
    context = context_for(teacher, tmp_path)
    named = replace(context, baseline=None, load_model={"mdl_1": teacher}.__getitem__)
    asked, chosen, given = student, clone_with_weights(student), clone_with_weights(student)
    update = {"distill": True, "epochs": 2, "temperature": 2.0, "distillation_weight": 0.9}
    options = PURE.model_copy(update=update)

    taught(asked, context, None, options)
    taught(chosen, named, None, options.model_copy(update={"teacher_model_ids": ("mdl_1",)}))
    taught(given, context, Teaching([teacher], 2.0, 0.9), options)

    for one, other, third in zip(
        asked.get_weights(), chosen.get_weights(), given.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(one, third)
        np.testing.assert_array_equal(other, third)


def test_distill_without_any_teacher_says_so(tmp_path: Path) -> None:
    student = dense_model()
    context = replace(context_for(student, tmp_path), baseline=None)

    with pytest.raises(StepFailed, match="distill is on"):
        taught(student, context, None, Recovery(distill=True))


def with_head(units: int, activation: str, name: str = "classes") -> Any:
    return randomized(
        keras.Sequential(
            [
                keras.Input((4,), name="features"),
                keras.layers.Dense(units, activation=activation, name=name),
            ]
        )
    )


def test_lessons_read_each_teacher_by_its_own_head(tmp_path: Path) -> None:
    """The student ends in softmax, its teacher gives logits under another name."""
    teacher = with_head(3, "linear", "scores")
    context = context_for(dense_model(), tmp_path)
    rows, _ = context.divided(0.1)

    (answers,) = lessons_on(context, [teacher]).answers(np.arange(4))

    np.testing.assert_allclose(answers, outputs_of(teacher, rows.take(4))[0], rtol=1e-6)


def test_lessons_pair_inputs_and_outputs_by_name(tmp_path: Path) -> None:
    model = randomized(branched_model())
    left, right = model.inputs
    kind, amount = model.outputs
    turned = keras.Model([right, left], [amount, kind])
    context = context_for(model, tmp_path)

    straight = lessons_on(context, [model], model).answers(np.arange(4))
    crossed = lessons_on(context, [turned], model).answers(np.arange(4))

    for one, other in zip(straight, crossed, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.parametrize(
    ("teacher", "says"),
    [
        (with_head(5, "softmax"), r"gives rows of the shape \(5\); the student gives \(3\)"),
        (branched_model(), r"takes rows of the shape \(4\), \(4\); the data set has \(4\)"),
    ],
)
def test_lessons_refuse_a_teacher_that_does_not_fit(
    teacher: Any, says: str, tmp_path: Path
) -> None:
    with pytest.raises(StepFailed, match=says):
        lessons_on(context_for(dense_model(), tmp_path), [teacher])


def test_cosine_of_one_unit_is_refused(tmp_path: Path) -> None:
    model = MODELS["recurrent"]()

    with pytest.raises(StepFailed, match="only their sign"):
        taught(model, context_for(model, tmp_path), Teaching([model], soft_loss="cosine"))


def test_asking_a_teacher_stops_when_cancelled(tmp_path: Path) -> None:
    def cancelled() -> None:
        raise Cancelled("the job was asked to stop")

    model = dense_model()
    context = replace(context_for(model, tmp_path), check_cancelled=cancelled)

    with pytest.raises(Cancelled):
        lessons_on(context, [model])
    assert list((tmp_path / "teachers").iterdir()) == []


def wide_model(width: int, strides: int = 1) -> Any:
    """6x6x1 pictures -> `conv` of this width -> `logits` of 3 classes."""
    keras.utils.set_random_seed(9)
    picture = keras.Input((6, 6, 1), name="picture")
    x = keras.layers.Conv2D(width, 3, strides, activation="relu", name="conv")(picture)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return randomized(keras.Model(picture, keras.layers.Dense(3, name="logits")(x)))


@pytest.mark.parametrize("width", [4, 9])
def test_features_bring_hidden_outputs_together(width: int, tmp_path: Path) -> None:
    teacher, student = wide_model(width), wide_model(4)
    if width == 4:
        student = randomized(student, seed=3)
    context = context_for(teacher, tmp_path)
    names = [weight.path for weight in student.weights]
    teaching = Teaching([teacher], features=[("conv", "conv")], feature_weight=5.0)

    epochs = taught(student, context, teaching).epochs

    assert epochs[-1].train_loss < 0.5 * epochs[0].train_loss
    assert [weight.path for weight in student.weights] == names


def test_features_weigh_the_mean_squared_difference(tmp_path: Path) -> None:
    """The same logits, hidden outputs that differ by 2 everywhere: the loss is 3 x 4."""
    teacher, student = wide_model(4), wide_model(4)
    for model, bias in ((teacher, 10.0), (student, 12.0)):
        model.get_layer("conv").kernel.assign(np.zeros((3, 3, 1, 4)))
        model.get_layer("conv").bias.assign(np.full(4, bias))
        model.get_layer("logits").kernel.assign(np.zeros((4, 3)))
    teaching = Teaching(
        [teacher], distillation_weight=1.0, features=[("conv", "conv")], feature_weight=3.0
    )
    once = Recovery(epochs=1, batch_size=1000, learning_rate=1e-9)

    (epoch,) = taught(student, context_for(student, tmp_path), teaching, once).epochs

    assert epoch.train_loss == pytest.approx(12.0, rel=1e-5)


@pytest.mark.parametrize("count", [1, 2])
def test_a_teacher_whose_features_are_asked_for_answers_with_them(
    count: int, tmp_path: Path
) -> None:
    """Nothing of it is kept on disk; the loss is that of asking all teachers each time."""
    given = [randomized(wide_model(4), seed=seed) for seed in range(count)]
    context = context_for(wide_model(4), tmp_path)
    losses = []
    for is_kept in (True, False):
        student = randomized(wide_model(4), seed=7)
        teaching = Teaching(given, features=[("conv", "conv")])
        rows = context.divided(0.1)[0]
        lessons = Lessons(teaching, student, context, rows, is_augmented=not is_kept)
        at = np.arange(5)
        inputs = list(rows.fed(at).values())
        outputs = lessons.runner(student)(inputs)
        losses.append(float(lessons.loss(0.0, outputs, inputs, lessons.answers(at))))

    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert len(list((context.scratch / "teachers").glob("*.npy"))) == count - 1


@pytest.mark.parametrize(
    ("pair", "says"),
    [
        (("conv", "nothing"), "the teacher 'functional.*' has no layer 'nothing'. Layers: picture"),
        (("conv", "conv"), r"'conv' gives rows of the shape \(4, 4, 4\), .* \(2, 2, 4\)"),
        (("conv", "logits"), r"only their last axes may differ"),
    ],
)
def test_features_refuse_layers_that_do_not_fit(
    pair: tuple[str, str], says: str, tmp_path: Path
) -> None:
    teacher, student = wide_model(4, strides=2), wide_model(4)

    with pytest.raises(StepFailed, match=says):
        taught(student, context_for(student, tmp_path), Teaching([teacher], features=[pair]))


def test_features_refuse_a_layer_that_is_called_twice(tmp_path: Path) -> None:
    model = branched_model()

    with pytest.raises(StepFailed, match=r"'shared' .* gives 2 tensors"):
        taught(
            model, context_for(model, tmp_path), Teaching([model], features=[("shared", "shared")])
        )


def test_default_teacher_is_the_model_the_step_was_given_where_that_is_better(
    tmp_path: Path,
) -> None:
    uploaded, given = dense_model(), dense_model()
    context = context_for(uploaded, tmp_path)
    options = Recovery(distill=True)

    usual = asked_teaching(options, context)
    better = asked_teaching(options, replace(context, better_teacher=given))

    assert usual is not None
    assert better is not None
    assert (usual.teachers, better.teachers) == ([uploaded], [given])
