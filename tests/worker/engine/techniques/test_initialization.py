"""Initialization on whole models: which layers start again, from what, and what it was worth."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from app.errors import StepFailed
from tests.builders import (
    context_for,
    conv_model,
    dense_model,
    normalization_model,
    outputs_of,
    randomized,
    rows_for,
    step,
    with_masks,
)
from worker.engine.context import StepContext, StepOutcome
from worker.engine.surgery.weights import named_weights
from worker.engine.techniques.initialization import apply

QUICK = {"epochs": 3, "learning_rate": 0.02, "batch_size": 20}


def started(model: Any, context: StepContext, **parameters: Any) -> StepOutcome:
    return apply(step("initialization", **parameters), model, context)


def with_other(context: StepContext, model: Any) -> StepContext:
    """The context of a job that names another model."""
    return replace(context, load_model={"mdl_other": model}.__getitem__)


def kernel(model: Any, name: str) -> Any:
    return named_weights(model)[name].numpy()


def test_apply_starts_the_chosen_layers_alone(tmp_path: Path) -> None:
    model = randomized(dense_model())

    outcome = started(model, context_for(model, tmp_path), include=["classes"])

    assert outcome.facts["started_layers"] == ["classes"]
    assert [skip.layer for skip in outcome.skipped] == ["hidden"]
    np.testing.assert_array_equal(
        kernel(outcome.model, "hidden/kernel"), kernel(model, "hidden/kernel")
    )
    assert not np.array_equal(
        kernel(outcome.model, "classes/kernel"), kernel(model, "classes/kernel")
    )
    assert not kernel(outcome.model, "classes/bias").any()


def test_apply_draws_other_weights_for_another_seed(tmp_path: Path) -> None:
    model = dense_model()
    one, other = (started(model, context_for(model, tmp_path, seed=seed)).model for seed in (1, 2))

    assert not np.array_equal(kernel(one, "hidden/kernel"), kernel(other, "hidden/kernel"))


def test_apply_keeps_pruned_weights_at_zero_through_the_training(tmp_path: Path) -> None:
    model = randomized(dense_model())
    mask = np.random.default_rng(0).random((4, 8)) > 0.5
    context = with_masks(context_for(model, tmp_path), {"hidden/kernel": mask})

    outcome = started(model, context, recovery=QUICK)

    assert not kernel(outcome.model, "hidden/kernel")[~mask].any()
    assert kernel(outcome.model, "hidden/kernel")[mask].all()
    assert outcome.masks == context.masks


def test_apply_leaves_frozen_layers_and_statistics_of_data(tmp_path: Path) -> None:
    model = normalization_model()
    before = kernel(model, "scale/mean")

    outcome = started(model, context_for(model, tmp_path))

    np.testing.assert_array_equal(kernel(outcome.model, "scale/mean"), before)
    assert [skip.layer for skip in outcome.skipped] == ["scale"]


def test_apply_rewinds_to_the_uploaded_weights(tmp_path: Path) -> None:
    uploaded = randomized(dense_model())
    trained = randomized(dense_model(), seed=5)
    context = replace(context_for(trained, tmp_path), baseline=uploaded)

    outcome = started(trained, context, scheme="pretrained", include=["hidden"])

    assert outcome.facts["taken_layers"] == {"hidden": "hidden"}
    np.testing.assert_array_equal(
        kernel(outcome.model, "hidden/kernel"), kernel(uploaded, "hidden/kernel")
    )
    np.testing.assert_array_equal(
        kernel(outcome.model, "classes/kernel"), kernel(trained, "classes/kernel")
    )


def test_apply_takes_weights_of_a_named_model(tmp_path: Path) -> None:
    model, other = conv_model(), randomized(conv_model())
    context = with_other(context_for(model, tmp_path), other)

    outcome = started(model, context, scheme="pretrained", source_model_id="mdl_other")

    rows = rows_for(model, 3)
    np.testing.assert_array_equal(outputs_of(outcome.model, rows)[0], outputs_of(other, rows)[0])


def test_apply_refuses_a_model_of_which_nothing_fits(tmp_path: Path) -> None:
    model = dense_model()
    context = with_other(context_for(model, tmp_path), conv_model())
    asked = {"scheme": "pretrained", "source_model_id": "mdl_other", "include": ["hidden"]}

    with pytest.raises(StepFailed, match="hidden: the other model has no layer of its kind"):
        started(model, context, **asked)


def test_apply_refuses_a_choice_of_layers_without_weights(tmp_path: Path) -> None:
    model = conv_model()

    with pytest.raises(StepFailed, match=r"none of the chosen layers has weights.*conv, norm"):
        started(model, context_for(model, tmp_path), include=["relu"])


def test_apply_refuses_a_choice_of_frozen_layers(tmp_path: Path) -> None:
    model = dense_model()
    model.get_layer("hidden").trainable = False

    with pytest.raises(StepFailed, match="hidden: it is frozen"):
        started(model, context_for(model, tmp_path), include=["hidden"])


def test_comparison_states_loss_after_no_one_and_all_epochs(tmp_path: Path) -> None:
    model = dense_model()
    asked = {"scheme": "he_normal", "compare": ["zeros", "pretrained"], "recovery": QUICK}

    outcome = started(model, context_for(model, tmp_path), **asked)

    told = {trial["scheme"]: trial["validation"] for trial in outcome.facts["comparison"]}
    assert list(told) == ["he_normal", "zeros", "pretrained"]
    assert all([point["epochs"] for point in points] == [0, 1, 3] for points in told.values())
    # Three classes of equal weight: who knows nothing has a loss of ln 3.
    assert told["zeros"][0]["loss"] == pytest.approx(np.log(3), abs=1e-5)
    assert told["he_normal"][2]["loss"] < told["he_normal"][0]["loss"]
    assert outcome.facts["scheme"] == "he_normal"
    assert outcome.accuracy_after_change == pytest.approx(told["he_normal"][0]["score"], abs=1e-6)


def test_comparison_gives_a_scheme_what_it_gets_alone(tmp_path: Path) -> None:
    model = dense_model()
    context = context_for(model, tmp_path)

    among = started(model, context, scheme="zeros", compare=["he_normal"], recovery=QUICK)
    alone = started(model, context, scheme="he_normal", recovery=QUICK)

    assert among.facts["comparison"][1] == alone.facts["comparison"][0]


def test_comparison_keeps_the_best_if_asked(tmp_path: Path) -> None:
    model = dense_model()
    asked = {"scheme": "zeros", "compare": ["he_normal"], "keep": "best", "recovery": QUICK}

    outcome = started(model, context_for(model, tmp_path), **asked)

    assert outcome.facts["scheme"] == "he_normal"
    assert kernel(outcome.model, "hidden/kernel").any()


def test_comparison_goes_on_when_one_scheme_diverges(tmp_path: Path) -> None:
    model = dense_model(activation="linear", units=1)
    huge = {"scheme": "zeros", "compare": ["normal"], "mean": 100.0, "stddev": 100.0}
    recovery = QUICK | {"optimizer": "sgd", "learning_rate": 10.0}
    context = context_for(model, tmp_path)

    first, second = started(model, context, **huge, recovery=recovery).facts["comparison"]

    assert (first["stopped"], second["stopped"]) == (None, "training_diverged")
    assert len(second["validation"]) == 1


def test_a_start_whose_training_diverges_is_kept_with_a_warning(tmp_path: Path) -> None:
    model = dense_model(activation="linear", units=1)
    huge = {"scheme": "normal", "mean": 100.0, "stddev": 100.0}
    recovery = QUICK | {"optimizer": "sgd", "learning_rate": 10.0}

    outcome = started(model, context_for(model, tmp_path), **huge, recovery=recovery)

    assert (outcome.facts["stopped"], outcome.facts["kept_epoch"]) == ("training_diverged", 0)
    assert "one that started at random is still random" in outcome.warnings[0]
    assert all(np.isfinite(weight).all() for weight in outcome.model.get_weights())


def test_progress_of_a_comparison_never_goes_back(tmp_path: Path) -> None:
    model = dense_model()
    heard: list[tuple[float, str]] = []
    context = replace(
        context_for(model, tmp_path),
        report_progress=lambda fraction, message, **metrics: heard.append((fraction, message)),
    )

    started(model, context, scheme="zeros", compare=["he_normal"], recovery=QUICK)

    fractions = [fraction for fraction, _ in heard]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1.0)
    assert heard[-1][1].startswith("he_normal: epoch 3")


def test_shared_layer_starts_once(tmp_path: Path) -> None:
    shared = keras.layers.Dense(4, name="shared")
    given = keras.Input((4,), name="features")
    out = keras.layers.Dense(3, activation="softmax", name="classes")(shared(shared(given)))
    model = keras.Model(given, out)

    facts = started(model, context_for(model, tmp_path)).facts

    assert facts["started_layers"] == ["shared", "classes"]
