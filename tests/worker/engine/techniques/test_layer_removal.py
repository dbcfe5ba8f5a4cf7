"""Layer removal: what goes, what is said of it, what it costs."""

from collections.abc import Sequence
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
    outputs_of,
    randomized,
    rows_for,
    step,
    with_masks,
)
from tests.residual import dense_chain, nested_chain, residual_model
from worker.engine.context import StepContext, StepOutcome
from worker.engine.exporting.source import KerasSource
from worker.engine.surgery.spans.finding import removable_spans
from worker.engine.surgery.weights import named_weights
from worker.engine.techniques import layer_removal, magnitude_pruning, technique
from worker.engine.training.evaluation import evaluate


def outcome_of(model: Any, context: StepContext, **parameters: Any) -> StepOutcome:
    parameters = {"recovery": None, **parameters}
    return layer_removal.apply(step("layer_removal", **parameters), model, context)


def removed(outcome: StepOutcome) -> Sequence[str]:
    return outcome.facts["removed"]


def with_silent_block(block: int) -> Any:
    """Of three residual blocks one adds nothing; its last normalization gives 0."""
    model = randomized(residual_model())
    for weight in model.get_layer(f"norm_{block}_2").weights[:2]:
        weight.assign(np.zeros(weight.shape))
    return model


def test_silent_block_goes_first_and_the_outputs_stay_to_the_bit(tmp_path: Path) -> None:
    model = with_silent_block(1)

    outcome = outcome_of(model, context_for(model, tmp_path), importance="block_influence")

    assert removed(outcome) == ["add_1"]
    inputs = rows_for(model, 4)
    np.testing.assert_array_equal(
        outputs_of(outcome.model, inputs)[0], outputs_of(model, inputs)[0]
    )


@pytest.mark.parametrize("importance", ["accuracy", "greedy"])
def test_silent_block_costs_no_loss(importance: str, tmp_path: Path) -> None:
    model = with_silent_block(1)

    facts = outcome_of(model, context_for(model, tmp_path), importance=importance, count=3).facts

    of_block = {item["span"]: item["importance"] for item in facts["candidates"]}
    assert of_block["add_1"] == pytest.approx(0, abs=1e-6)
    assert all(of_block[name] != 0 for name in ("add_0", "add_2"))


def losses(model: Any, context: StepContext) -> float:
    rows = context.validation_of(step("layer_removal", recovery=None))
    assert rows is not None
    return evaluate(model, rows, context.tasks, context.check_cancelled).loss


@pytest.mark.parametrize("importance", ["greedy", "accuracy", "block_influence"])
def test_losses_along_the_order_are_those_of_the_models_without(
    importance: str, tmp_path: Path
) -> None:
    model = randomized(residual_model())
    context = context_for(model, tmp_path)

    outcome = outcome_of(model, context, importance=importance, count=3)

    facts = outcome.facts
    assert facts["before"]["loss"] == pytest.approx(losses(model, context), rel=1e-5)
    for number, item in enumerate(facts["removal_order"], 1):
        names = [item["span"] for item in facts["removal_order"][:number]]
        smaller = outcome_of(model, context, layers=names).model
        assert item["loss"] == pytest.approx(losses(smaller, context), rel=1e-5)


def test_greedy_takes_the_least_loss_of_each_round(tmp_path: Path) -> None:
    model = randomized(residual_model(4))
    context = context_for(model, tmp_path)
    blocks = ["add_0", "add_1", "add_2", "add_3"]

    first, second, _ = outcome_of(model, context, count=3).facts["removal_order"]

    rounds: list[dict[str, float]] = []
    for gone in ([], [first["span"]]):
        left = [block for block in blocks if block not in gone]
        tried = {b: outcome_of(model, context, layers=[*gone, b]).model for b in left}
        rounds.append({block: losses(smaller, context) for block, smaller in tried.items()})
    assert [min(tried, key=tried.__getitem__) for tried in rounds] == [
        first["span"],
        second["span"],
    ]


def learned(context: StepContext, model: Any) -> Any:
    """The model after some training on the context's rows."""
    training = step("fine_tuning", epochs=12, learning_rate=0.02, batch_size=16)
    return technique("fine_tuning").apply(training, model, context).model


@pytest.mark.parametrize("importance", ["greedy", "accuracy", "block_influence"])
@pytest.mark.parametrize("drop", [0.0, 0.2])
def test_accuracy_drop_is_kept(importance: str, drop: float, tmp_path: Path) -> None:
    context = context_for(dense_chain(4), tmp_path)
    model = learned(context, dense_chain(4))

    facts = outcome_of(model, context, importance=importance, max_accuracy_drop=drop).facts

    before = facts["before"]["accuracy"]
    assert before > 0.6
    assert all(item["accuracy"] >= before - drop - 1e-9 for item in facts["removal_order"])


def test_greedy_stops_only_where_every_other_span_costs_too_much(tmp_path: Path) -> None:
    context = context_for(dense_chain(4), tmp_path)
    model = learned(context, dense_chain(4))

    facts = outcome_of(model, context, max_accuracy_drop=0.1).facts

    least = facts["before"]["accuracy"] - 0.1
    names = [span.name for span in removable_spans(model).matching]
    left = [name for name in names if name not in facts["removed"]]
    assert 0 < len(left) < len(names)
    for name in left:
        more = outcome_of(model, context, layers=[*facts["removed"], name]).facts
        assert evaluated_without(more, facts["removed"]) < least


def evaluated_without(facts: dict[str, Any], first: Sequence[str]) -> float:
    """Accuracy without all that went, these and more."""
    assert set(first) < set(facts["removed"])
    return facts["removal_order"][-1]["accuracy"]


def test_nothing_goes_where_no_drop_allows_it(tmp_path: Path) -> None:
    model = randomized(dense_model())

    outcome = outcome_of(model, context_for(model, tmp_path), max_accuracy_drop=1.0)

    assert removed(outcome) == []
    (warning,) = outcome.warnings
    assert warning.startswith("layer_removal took nothing out: no span can go within a max_acc")
    assert outcome.model is not model
    inputs = rows_for(model, 3)
    np.testing.assert_array_equal(
        outputs_of(outcome.model, inputs)[0], outputs_of(model, inputs)[0]
    )


def test_recovery_learns_from_the_uploaded_model(tmp_path: Path) -> None:
    context = context_for(residual_model(), tmp_path)
    model = learned(context, residual_model())
    context = replace(context, baseline=model)

    outcome = outcome_of(
        model, context, count=1, recovery={"distill": True, "epochs": 8, "batch_size": 16}
    )

    assert outcome.accuracy_after_change == pytest.approx(
        outcome.facts["removal_order"][0]["accuracy"]
    )
    kept_epoch = outcome.facts["kept_epoch"]
    assert kept_epoch > 0  # 0 would be the model as it was before the training
    assert outcome.facts["validation_score"][kept_epoch - 1] >= (outcome.accuracy_after_change or 0)


def test_zeros_of_earlier_pruning_stay_zero(tmp_path: Path) -> None:
    model = randomized(residual_model())
    context = context_for(model, tmp_path)
    pruned = magnitude_pruning.apply(step("magnitude_pruning", sparsity=0.5), model, context)

    outcome = outcome_of(
        pruned.model, with_masks(context, pruned.masks), recovery={"epochs": 2}, count=2
    )

    weights = named_weights(outcome.model)
    assert 0 < len(outcome.masks) < len(pruned.masks)
    for name, mask in outcome.masks.items():
        np.testing.assert_array_equal(mask, pruned.masks[name])
        assert not weights[name].numpy()[~mask].any()


def test_patterns_name_the_smallest_spans_that_hold_what_they_match(tmp_path: Path) -> None:
    model = randomized(nested_chain())

    outcome = outcome_of(model, context_for(model, tmp_path), layers=["inner_[01]", "first"])

    assert removed(outcome) == ["first", "backbone/inner_0", "backbone/inner_1"]


def test_layers_go_by_name_without_any_data(tmp_path: Path) -> None:
    model = randomized(residual_model())
    context = replace(context_for(model, tmp_path), data=None, tasks=())

    outcome = outcome_of(model, context, layers=["conv_1_2"])

    assert removed(outcome) == ["add_1"]
    assert outcome.facts["before"] == {"loss": None, "accuracy": None}
    assert outcome.facts["candidates"][0]["importance"] is None


def test_influence_needs_no_labels(tmp_path: Path) -> None:
    model = with_silent_block(2)
    context = replace(context_for(model, tmp_path), tasks=())

    outcome = outcome_of(model, context, importance="block_influence")

    assert removed(outcome) == ["add_2"]


def test_only_what_is_included_and_not_excluded_goes(tmp_path: Path) -> None:
    model = randomized(residual_model())
    context = context_for(model, tmp_path)

    outcome = outcome_of(model, context, include=["add_.", "conv_0_1"], exclude=["norm_1_1"])

    assert [item["span"] for item in outcome.facts["candidates"]] == ["add_0", "add_2"]
    skipped = {skip.layer: skip.reason for skip in outcome.skipped}
    assert skipped["conv_1_1"] == "not chosen by the recipe"
    assert skipped["stem"] == "it makes (6, 6, 4) of (6, 6, 1)"


def test_bridge_takes_a_shape_changing_layer_out(tmp_path: Path) -> None:
    model = randomized(conv_model())

    outcome = outcome_of(model, context_for(model, tmp_path), layers=["conv"], bridge=True)

    assert outcome.facts["bridged"] == ["conv"]
    (candidate,) = outcome.facts["candidates"]
    # Random rows: what a 3x3 kernel makes of them does not follow from the mean of 3x3.
    assert 0.8 < candidate["bridge_residual"] < 1
    assert "the bridge over 'conv' is a poor stand-in" in outcome.warnings[0]
    assert outcome.model.count_params() < model.count_params()
    assert [layer.name for layer in outcome.model.layers][1:4] == [
        "conv_bridge_pool",
        "conv_bridge",
        "relu",
    ]


@pytest.mark.parametrize(
    ("build", "parameters", "reason"),
    [
        (residual_model, {"layers": ["stem"]}, "layer 'stem' cannot be removed: it makes (6, 6, 4"),
        (residual_model, {"layers": ["logits"]}, "layer 'logits' cannot be removed: it is an out"),
        (residual_model, {"layers": ["pool"]}, "layer 'pool' cannot be removed: it lies in no sp"),
        (residual_model, {"layers": ["gone"]}, "'gone' matches no layer of the model as it is now"),
        (branched_model, {"layers": ["shared"]}, "layer 'shared' cannot be removed: it is shared"),
        (residual_model, {"count": 4}, "count is 4, but the model has 3 spans that can go togeth"),
        (dense_model, {}, "count is 1, but the model has 0 spans that can go together: none"),
    ],
)
def test_apply_refuses(build: Any, parameters: dict[str, Any], reason: str, tmp_path: Path) -> None:
    model = randomized(build())

    with pytest.raises(StepFailed) as refused:
        outcome_of(model, context_for(model, tmp_path), **parameters)

    assert refused.value.detail.startswith(reason)
    assert refused.value.hint


def test_refusal_names_what_can_go(tmp_path: Path) -> None:
    model = randomized(residual_model())

    with pytest.raises(StepFailed) as refused:
        outcome_of(model, context_for(model, tmp_path), layers=["stem"])

    assert "add_0, add_1, add_2" in (refused.value.hint or "")


def test_several_outputs_keep_their_names(tmp_path: Path) -> None:
    given = keras.Input((4,), name="features")
    x = keras.layers.Dense(4, activation="relu", name="one")(given)
    y = keras.layers.Dense(4, activation="relu", name="two")(x)
    ends = [
        keras.layers.Dense(3, activation="softmax", name="kind")(y),
        keras.layers.Dense(1, name="amount")(x),
    ]
    model = randomized(keras.Model(given, ends, name="two_ends"))

    outcome = outcome_of(model, context_for(model, tmp_path), count=2)

    assert outcome.model.output_names == ["kind", "amount"]
    assert [layer.name for layer in outcome.model.layers] == ["features", "kind", "amount"]


def test_result_is_the_same_after_reload(tmp_path: Path) -> None:
    model = randomized(residual_model())
    outcome = outcome_of(model, context_for(model, tmp_path), count=2)
    outcome.model.save(tmp_path / "smaller.keras")

    again = keras.saving.load_model(tmp_path / "smaller.keras")

    inputs = rows_for(model, 4)
    np.testing.assert_array_equal(
        outputs_of(again, inputs)[0], outputs_of(outcome.model, inputs)[0]
    )


@pytest.mark.parametrize("tag", ["full_integer_quantization", "float16_quantization"])
@pytest.mark.parametrize(
    ("build", "parameters"),
    [(residual_model, {"count": 2}), (conv_model, {"layers": ["conv"], "bridge": True})],
)
def test_result_converts(build: Any, parameters: dict[str, Any], tag: str, tmp_path: Path) -> None:
    model = randomized(build())
    context = context_for(model, tmp_path)
    smaller = outcome_of(model, context, **parameters).model

    source = KerasSource(smaller, tmp_path / "source", {})
    converted = technique(tag).convert(step(tag), source, context)

    assert converted.variant == {"full_integer_quantization": "int8"}.get(tag, "float16")
