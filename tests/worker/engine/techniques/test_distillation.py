"""Distillation on whole models: every student, every head, several teachers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from app.errors import StepFailed
from tests.builders import (
    branched_model,
    context_for,
    conv_model,
    dense_model,
    nested_model,
    outputs_of,
    randomized,
    recurrent_model,
    rows_for,
    step,
    with_masks,
)
from worker.engine.context import StepContext, StepOutcome
from worker.engine.loading.models import heads, input_specs
from worker.engine.surgery.weights import named_weights
from worker.engine.techniques import technique
from worker.engine.techniques.distillation import LEARNS_FROM_ITSELF, apply
from worker.engine.training.evaluation import evaluate
from worker.engine.training.logits import logits_of

QUICK = {"epochs": 2, "learning_rate": 0.02, "batch_size": 20}


def taught(model: Any, context: StepContext, **parameters: Any) -> StepOutcome:
    return apply(step("distillation", **QUICK | parameters), model, context)


def with_others(context: StepContext, **models: Any) -> StepContext:
    """The context of a job that names other models."""
    return replace(context, load_model=models.__getitem__)


def kernel(model: Any, name: str) -> Any:
    return named_weights(model)[name].numpy()


def small_student(*, activation: str | None = "softmax") -> Any:
    """A student of `dense_model` by other names."""
    keras.utils.set_random_seed(8)
    return keras.Sequential(
        [
            keras.Input((4,), name="given"),
            keras.layers.Dense(3, activation="relu", name="small"),
            keras.layers.Dense(3, activation=activation, name="end"),
        ]
    )


def teacher_of_ranks() -> Any:
    """A `dense_model` whose answers are far from those of an untrained one."""
    return randomized(dense_model(), seed=21)


@pytest.mark.parametrize(
    "make",
    [
        dense_model,
        conv_model,
        branched_model,
        nested_model,
        recurrent_model,
        lambda: dense_model(activation="sigmoid", units=1),
        lambda: dense_model(activation="linear", units=1),
    ],
    ids=["softmax", "logits", "two_outputs", "nested", "recurrent", "sigmoid", "regression"],
)
def test_narrow_student_of_every_head_learns_and_computes(make: Any, tmp_path: Path) -> None:
    model = make()
    context = context_for(model, tmp_path)

    outcome = taught(model, context, student="width", epochs=6)

    assert outcome.model.count_params() < model.count_params()
    losses = outcome.facts["train_loss"]
    assert losses[-1] < losses[0]
    given, made = (
        outputs_of(model, rows_for(model, 3)),
        outputs_of(outcome.model, rows_for(model, 3)),
    )
    assert [output.shape for output in made] == [output.shape for output in given]
    assert all(np.isfinite(output).all() for output in made)


def test_student_comes_to_answer_as_its_teacher(tmp_path: Path) -> None:
    model, teacher = dense_model(), teacher_of_ranks()
    context = with_others(context_for(model, tmp_path), mdl_t=teacher)
    asked = {"teacher_model_ids": ["mdl_t"], "distillation_weight": 1.0, "epochs": 40}

    student = taught(model, context, **asked, validation_fraction=0.0).model

    rows = rows_for(model, 96)
    (wanted,) = outputs_of(teacher, rows)
    before, after = (np.abs(outputs_of(one, rows)[0] - wanted).mean() for one in (model, student))
    assert after < 0.3 * before


@pytest.mark.parametrize("loss", ["kl", "mse", "cosine"])
def test_every_soft_loss_brings_logits_closer(loss: str, tmp_path: Path) -> None:
    model, teacher = dense_model(), teacher_of_ranks()
    context = with_others(context_for(model, tmp_path), mdl_t=teacher)
    asked = {"teacher_model_ids": ["mdl_t"], "distillation_weight": 1.0, "soft_loss": loss}

    losses = taught(model, context, **asked, epochs=10).facts["train_loss"]

    assert losses[-1] < losses[0]


def test_distillation_weight_of_nothing_is_plain_training(tmp_path: Path) -> None:
    model = dense_model()
    context = context_for(model, tmp_path)

    alone = taught(model, context, distillation_weight=0.0).model
    trained = technique("fine_tuning").apply(step("fine_tuning", **QUICK), model, context).model

    for one, same in zip(alone.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_allclose(one, same, atol=1e-6)


def test_uploaded_student_takes_the_place_of_the_model(tmp_path: Path) -> None:
    model = dense_model()
    context = with_others(context_for(model, tmp_path), mdl_s=small_student())
    masked = with_masks(context, {"hidden/kernel": np.ones((4, 8), np.bool_)})

    outcome = taught(model, masked, student="model", student_model_id="mdl_s")

    assert [spec.name for spec in input_specs(outcome.model)] == ["features"]
    assert [head.output for head in heads(outcome.model, None)] == ["classes"]
    assert outcome.masks == {}
    assert outcome.facts["student_parameters"] == small_student().count_params()
    assert outcome.facts["inherited_layers"] == []


def test_uploaded_student_of_logits_for_a_softmax_model(tmp_path: Path) -> None:
    model = dense_model()
    context = with_others(context_for(model, tmp_path), mdl_s=small_student(activation=None))

    student = taught(model, context, student="model", student_model_id="mdl_s").model

    (probabilities,) = outputs_of(student, rows_for(model, 5))
    np.testing.assert_allclose(probabilities.sum(axis=-1), np.ones(5), rtol=1e-5)


def test_uploaded_student_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    model = dense_model()
    context = with_others(context_for(model, tmp_path), mdl_s=conv_model())

    with pytest.raises(StepFailed, match="does not fit the model"):
        taught(model, context, student="model", student_model_id="mdl_s")


def test_pretrained_student_starts_with_the_teachers_channels(tmp_path: Path) -> None:
    model, teacher = small_student(), teacher_of_ranks()
    context = with_others(context_for(model, tmp_path), mdl_t=teacher)
    asked = {"teacher_model_ids": ["mdl_t"], "initialization": "pretrained"}

    outcome = taught(model, context, **asked, learning_rate=1e-9)

    norms = np.abs(kernel(teacher, "hidden/kernel")).sum(axis=0)
    best = np.sort(np.argsort(-norms)[:3])
    np.testing.assert_allclose(
        kernel(outcome.model, "small/kernel"), kernel(teacher, "hidden/kernel")[:, best], atol=1e-6
    )
    assert outcome.facts["sliced_layers"] == {"small": "hidden", "end": "classes"}


def test_narrow_student_may_start_anew(tmp_path: Path) -> None:
    model = randomized(dense_model())
    context = context_for(model, tmp_path)
    asked = {"student": "width", "learning_rate": 1e-9}

    sliced = taught(model, context, **asked)
    anew = taught(model, context, **asked, initialization={"scheme": "normal", "stddev": 0.01})

    assert anew.facts["started_layers"] == ["hidden", "classes"]
    assert np.abs(kernel(anew.model, "hidden/kernel")).max() < 0.05
    assert np.abs(kernel(sliced.model, "hidden/kernel")).max() > 0.5


def test_zeros_of_earlier_pruning_survive_in_every_student(tmp_path: Path) -> None:
    model = randomized(dense_model())
    mask = np.random.default_rng(0).random((4, 8)) > 0.5
    context = with_masks(context_for(model, tmp_path), {"hidden/kernel": mask})

    for student in ("same", "width"):
        for start in (None, "he_normal"):
            outcome = taught(model, context, student=student, initialization=start)
            zeros = ~outcome.masks["hidden/kernel"]
            weights = kernel(outcome.model, "hidden/kernel")
            assert zeros.shape == weights.shape
            assert zeros.any()
            assert not weights[zeros].any()
            assert weights[~zeros].all()


def test_features_of_other_widths_are_compared(tmp_path: Path) -> None:
    model = dense_model()
    context = with_others(context_for(model, tmp_path), mdl_s=small_student())
    asked = {"student": "model", "student_model_id": "mdl_s", "distillation_weight": 0.0}

    plain = taught(model, context, **asked)
    guided = taught(model, context, **asked, feature_layers=["small:hidden"], feature_weight=10.0)

    assert guided.facts["train_loss"][0] > plain.facts["train_loss"][0]
    assert set(named_weights(guided.model)) == set(named_weights(plain.model))


def test_several_teachers_are_averaged_and_told(tmp_path: Path) -> None:
    model = dense_model()
    context = with_others(
        context_for(model, tmp_path), mdl_1=teacher_of_ranks(), mdl_2=small_student(activation=None)
    )

    facts = taught(model, context, teacher_model_ids=["mdl_1", "mdl_2"]).facts

    rows = context.validation_of(step("distillation"))
    assert rows is not None
    scores = evaluate(teacher_of_ranks(), rows, context.tasks, context.check_cancelled)
    assert [teacher["model_id"] for teacher in facts["teachers"]] == ["mdl_1", "mdl_2"]
    assert facts["teachers"][0]["score"] == pytest.approx(scores.score)
    assert facts["teachers"][1]["parameters"] == small_student().count_params()


def test_facts_tell_the_student_before_and_after(tmp_path: Path) -> None:
    model = dense_model()
    context = context_for(model, tmp_path)

    outcome = taught(model, context)

    rows = context.validation_of(step("distillation"))
    assert rows is not None
    before, after = (
        evaluate(one, rows, context.tasks, context.check_cancelled).score
        for one in (model, outcome.model)
    )
    assert outcome.accuracy_after_change == outcome.facts["student_score_before"] == before
    assert outcome.facts["student_score"] == after
    assert outcome.facts["teachers"] == [
        {"model_id": None, "parameters": model.count_params(), "score": before}
    ]


def test_student_that_is_its_own_teacher_is_told(tmp_path: Path) -> None:
    model = dense_model()
    context = context_for(model, tmp_path)

    assert taught(model, context).warnings == (LEARNS_FROM_ITSELF,)
    named = with_others(context, mdl_own=dense_model())
    assert taught(model, named, teacher_model_ids=["mdl_own"]).warnings == (LEARNS_FROM_ITSELF,)
    assert LEARNS_FROM_ITSELF not in taught(model, context, student="width").warnings


def test_teacher_that_does_worse_than_the_student_is_told(tmp_path: Path) -> None:
    model = dense_model()
    context = context_for(model, tmp_path)
    rows = context.validation_of(step("distillation"))
    assert rows is not None
    scored = {
        float(evaluate(one, rows, context.tasks, context.check_cancelled).score or 0): one
        for one in (randomized(dense_model(), seed=seed) for seed in range(8))
    }
    good, bad = scored[max(scored)], scored[min(scored)]
    asked = {"teacher_model_ids": ["mdl_t"]}

    warned = taught(good, with_others(context, mdl_t=bad), **asked).warnings
    praised = taught(bad, with_others(context, mdl_t=good), **asked).warnings

    assert any("may do harm" in warning for warning in warned)
    assert not praised


def test_softmax_teacher_and_one_of_log_softmax_teach_the_same(tmp_path: Path) -> None:
    model, teacher = dense_model(), teacher_of_ranks()
    logs = dense_model(activation="log_softmax")
    logs.set_weights(teacher.get_weights())
    context = with_others(context_for(model, tmp_path), mdl_s=teacher, mdl_l=logs)

    of_softmax, of_logs = (
        taught(model, context, teacher_model_ids=[named]).model for named in ("mdl_s", "mdl_l")
    )

    for one, other in zip(of_softmax.get_weights(), of_logs.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_teacher_is_left_as_it_is(tmp_path: Path) -> None:
    model = dense_model()
    teacher = teacher_of_ranks()
    before = teacher.get_weights()
    context = replace(context_for(model, tmp_path), baseline=teacher)

    taught(model, context)

    for now, was in zip(teacher.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, was)


def test_softmax_and_logits_teachers_teach_the_same(tmp_path: Path) -> None:
    """A head that ends in softmax is not softened twice."""
    model = dense_model(activation="linear", loss=None)
    kind = context_for(model, tmp_path).tasks[0].kind
    raw, ended = dense_model(activation="linear"), dense_model()
    ended.set_weights(raw.get_weights())
    context = with_others(context_for(model, tmp_path), mdl_raw=raw, mdl_ended=ended)

    students = [
        taught(model, context, teacher_model_ids=[name], distillation_weight=1.0).model
        for name in ("mdl_raw", "mdl_ended")
    ]

    answers = [
        np.asarray(logits_of(kind, "logits", outputs_of(student, rows_for(model, 4))[0]))
        for student in students
    ]
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-4)
