"""Clustered models: which weights share how many values, what stays zero, what is trained."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from app.errors import Cancelled, StepFailed
from tests.builders import (
    MODELS,
    branched_model,
    context_for,
    conv_model,
    dense_model,
    embedding_model,
    nested_model,
    randomized,
    recurrent_model,
    step,
    with_masks,
)
from worker.engine.context import StepContext, StepOutcome
from worker.engine.quantizing.levels import Codebook, held
from worker.engine.surgery.weights import named_weights
from worker.engine.techniques import fine_tuning, magnitude_pruning, weight_clustering
from worker.engine.training.checkpoints import Checkpoints

RECOVERY = {"epochs": 2, "learning_rate": 0.01, "batch_size": 20, "validation_fraction": 0.0}
LSTM = ["kernel", "recurrent_kernel", "kernel_1", "recurrent_kernel_1"]


def clustered(model: Any, context: StepContext, **parameters: Any) -> StepOutcome:
    given = {"number_of_clusters": 4, **parameters}
    return weight_clustering.apply(step("weight_clustering", **given), model, context)


def pruned(model: Any, context: StepContext, sparsity: float = 0.5) -> StepOutcome:
    return magnitude_pruning.apply(step("magnitude_pruning", sparsity=sparsity), model, context)


def distinct(model: Any, name: str) -> int:
    return len(np.unique(named_weights(model)[name].numpy()))


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (dense_model, ["hidden/kernel", "classes/kernel"]),
        (conv_model, ["conv/kernel", "logits/kernel"]),
        (branched_model, ["shared/kernel", "kind/kernel", "amount/kernel"]),
        (nested_model, ["backbone/inner/kernel", "classes/kernel"]),
        (recurrent_model, [*(f"halves/{name}" for name in LSTM), "classes/kernel"]),
        (embedding_model, ["classes/kernel", "words/embeddings"]),
    ],
)
def test_apply_clusters_every_kernel_and_table_of(
    make: Any, names: list[str], tmp_path: Path
) -> None:
    model = randomized(make())

    outcome = clustered(model, context_for(model, tmp_path))

    assert list(outcome.facts["weights"]) == names
    assert set(outcome.levels) == set(names)
    assert held(outcome.levels, outcome.model) == outcome.levels
    for name in names:
        assert distinct(outcome.model, name) == 4
        assert outcome.facts["weights"][name]["distinct_values"] == 4


@pytest.mark.parametrize(
    ("kind", "granularity"),
    [*((kind, "per_tensor") for kind in sorted(MODELS)), ("conv", "per_channel")],
)
def test_apply_trains_shared_values_of(kind: str, granularity: str, tmp_path: Path) -> None:
    model = randomized(MODELS[kind]())
    context = context_for(model, tmp_path)
    parameters = {"granularity": granularity, "number_of_clusters": 3}

    alone = clustered(model, context, **parameters)
    trained = clustered(model, context, **parameters, recovery={**RECOVERY, "epochs": 1})

    assert set(trained.levels) == set(alone.levels)
    assert held(trained.levels, trained.model) == trained.levels
    assert trained.accuracy_after_change is None or trained.facts["epochs"] == 1
    for name in alone.levels:
        before, after = (
            named_weights(outcome.model)[name].numpy().ravel() for outcome in (alone, trained)
        )
        assert (before != after).any()


def test_apply_leaves_biases_alone_unless_asked(tmp_path: Path) -> None:
    model = randomized(dense_model())
    context = context_for(model, tmp_path)

    without = clustered(model, context).model
    with_them = clustered(model, context, biases=True)

    before = named_weights(model)["hidden/bias"].numpy()
    np.testing.assert_array_equal(named_weights(without)["hidden/bias"].numpy(), before)
    assert distinct(with_them.model, "hidden/bias") == 4
    assert with_them.facts["left_out"] == {
        "classes/bias": "its bias has 3 weights, no more than 4 clusters"
    }
    assert with_them.skipped == ()


def test_apply_gives_each_channel_its_own_values(tmp_path: Path) -> None:
    model = randomized(conv_model())

    outcome = clustered(
        model, context_for(model, tmp_path), granularity="per_channel", include=["conv"]
    )

    kernel = named_weights(outcome.model)["conv/kernel"].numpy()
    assert [len(np.unique(kernel[..., channel])) for channel in range(4)] == [4] * 4
    assert distinct(outcome.model, "conv/kernel") == 16
    book = outcome.levels["conv/kernel"]
    assert isinstance(book, Codebook)
    assert (book.channel_axis, book.centroids.shape) == (3, (4, 4))


def test_apply_shares_within_channels_of_transposed_and_depthwise_kernels(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    model = randomized(
        keras.Sequential(
            [
                keras.Input((6, 6, 3)),
                keras.layers.DepthwiseConv2D(3, depth_multiplier=2, name="deep"),
                keras.layers.Conv2DTranspose(5, 3, name="across"),
                keras.layers.Flatten(),
            ]
        )
    )

    outcome = clustered(model, context_for(model, tmp_path), granularity="per_channel")

    axes = {name: book.channel_axis for name, book in outcome.levels.items()}  # type: ignore[union-attr]  # all are codebooks
    assert axes == {"deep/kernel": 2, "across/kernel": 2}


def test_apply_says_what_the_values_cost(tmp_path: Path) -> None:
    model = randomized(dense_model())

    outcome = clustered(model, context_for(model, tmp_path), include=["hidden"])

    before, after = (named_weights(one)["hidden/kernel"].numpy() for one in (model, outcome.model))
    _, counts = np.unique(after, return_counts=True)
    shares = counts / counts.sum()
    facts = outcome.facts["weights"]["hidden/kernel"]
    assert facts["clusters"] == 4
    assert facts["index_bits"] == outcome.facts["index_bits_per_weight"] == 2
    assert facts["mse"] == pytest.approx(np.square(before - after).mean())
    assert facts["entropy_bits"] == pytest.approx(-(shares * np.log2(shares)).sum(), abs=1e-4)
    assert outcome.facts["clustered_weights"] == 32
    assert [skip.layer for skip in outcome.skipped] == ["classes"]


def test_apply_keeps_pruned_weights_zero_through_training(tmp_path: Path) -> None:
    model = randomized(dense_model())
    context = context_for(model, tmp_path)
    first = pruned(model, context)

    outcome = clustered(first.model, with_masks(context, first.masks), recovery=RECOVERY)

    assert outcome.masks == first.masks
    for name, mask in first.masks.items():
        weight = named_weights(outcome.model)[name].numpy()
        np.testing.assert_array_equal(weight != 0, mask)
        assert distinct(outcome.model, name) == 4


def test_apply_keeps_zeros_of_layers_it_was_not_asked_to_cluster(tmp_path: Path) -> None:
    model = randomized(dense_model())
    context = context_for(model, tmp_path)
    first = pruned(model, context)

    outcome = clustered(
        first.model, with_masks(context, first.masks), include=["hidden"], recovery=RECOVERY
    )

    weight = named_weights(outcome.model)["classes/kernel"].numpy()
    np.testing.assert_array_equal(weight != 0, first.masks["classes/kernel"])


def test_apply_lets_zeros_go_where_sparsity_is_not_kept(tmp_path: Path) -> None:
    model = randomized(dense_model())
    context = context_for(model, tmp_path)
    first = pruned(model, context)
    parameters = {"preserve_sparsity": False, "number_of_clusters": 2, "include": ["hidden"]}

    outcome = clustered(first.model, with_masks(context, first.masks), **parameters)
    tuned = fine_tuning.apply(
        step("fine_tuning", **RECOVERY), outcome.model, with_masks(context, outcome.masks)
    )

    assert set(outcome.masks) == {"classes/kernel"}
    assert (named_weights(outcome.model)["hidden/kernel"].numpy() != 0).all()
    assert (named_weights(tuned.model)["hidden/kernel"].numpy() != 0).all()


def test_apply_trains_only_the_rest_where_centroids_are_not_trained(tmp_path: Path) -> None:
    model = randomized(dense_model())
    context = context_for(model, tmp_path)

    alone = clustered(model, context).model
    outcome = clustered(model, context, train_centroids=False, recovery=RECOVERY)

    for name, weight in named_weights(outcome.model).items():
        stayed = np.array_equal(weight.numpy(), named_weights(alone)[name].numpy())
        assert stayed == name.endswith("kernel"), name
    assert held(outcome.levels, outcome.model) == outcome.levels


def test_apply_says_so_when_nothing_is_left_to_train(tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3, activation="softmax", use_bias=False)]
    )

    with pytest.raises(StepFailed, match="every weight that could be trained is clustered"):
        clustered(model, context_for(model, tmp_path), train_centroids=False, recovery=RECOVERY)


def test_training_shared_values_wins_accuracy_back(tmp_path: Path) -> None:
    model = randomized(dense_model())
    context = context_for(model, tmp_path)
    learned = fine_tuning.apply(
        step("fine_tuning", epochs=20, learning_rate=0.02, batch_size=16), model, context
    ).model

    outcome = clustered(
        learned,
        context,
        number_of_clusters=2,
        recovery={"epochs": 8, "learning_rate": 0.02, "batch_size": 16, "validation_fraction": 0.3},
    )

    assert outcome.accuracy_after_change is not None
    assert max(outcome.facts["validation_score"]) > outcome.accuracy_after_change


def test_apply_names_channels_of_too_few_weights(tmp_path: Path) -> None:
    model = randomized(conv_model())

    outcome = clustered(
        model, context_for(model, tmp_path), granularity="per_channel", number_of_clusters=8
    )

    assert [(skip.layer, skip.reason) for skip in outcome.skipped] == [
        ("logits", "each of 3 channels of its kernel has 4 weights, no more than 8 clusters")
    ]


def test_apply_changes_nothing_and_says_so_where_all_kernels_are_small(tmp_path: Path) -> None:
    model = randomized(conv_model())

    outcome = clustered(model, context_for(model, tmp_path), number_of_clusters=64)

    assert outcome.levels == {}
    assert outcome.warnings[0].startswith("weight_clustering changed nothing: conv/kernel: its")
    for name, weight in named_weights(outcome.model).items():
        np.testing.assert_array_equal(weight.numpy(), named_weights(model)[name].numpy())


def test_apply_fails_where_no_layer_can_be_clustered(tmp_path: Path) -> None:
    model = randomized(dense_model())
    weight = named_weights(model)["hidden/kernel"]
    weight.assign(np.where(np.eye(4, 8), np.nan, weight.numpy()))

    with pytest.raises(StepFailed, match="hidden/kernel: its kernel holds NaN or infinity"):
        clustered(model, context_for(model, tmp_path), include=["hidden"])


def test_apply_draws_the_same_start_for_the_same_seed(tmp_path: Path) -> None:
    model = randomized(dense_model())
    context = context_for(model, tmp_path)

    first, again = (clustered(model, context, centroid_init="kmeans++").model for _ in range(2))

    for one, same in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, same)


class CutOff:
    """Cancels at the n-th question."""

    def __init__(self, after: int) -> None:
        self.after = after

    def __call__(self) -> None:
        self.after -= 1
        if self.after < 0:
            raise Cancelled("the worker went away")


def saved_in(context: StepContext, folder: Path) -> StepContext:
    return replace(context, checkpoints=Checkpoints(folder, seconds_between=0.0))


def test_apply_goes_on_from_where_it_was_cut_off(tmp_path: Path) -> None:
    model = randomized(dense_model())
    context = context_for(model, tmp_path)
    folder = tmp_path / "checkpoints"
    whole = clustered(model, context, recovery=RECOVERY)
    broken = replace(saved_in(context, folder), check_cancelled=CutOff(12))
    with pytest.raises(Cancelled):
        clustered(model, broken, recovery=RECOVERY)

    resumed = clustered(model, saved_in(context, folder), recovery=RECOVERY)

    assert resumed.facts["resumed_at_step"] not in (None, 0)
    for one, same in zip(resumed.model.get_weights(), whole.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, same)
    assert held(resumed.levels, resumed.model) == resumed.levels


@pytest.mark.parametrize("other", [{"train_centroids": False}, {"preserve_sparsity": False}])
def test_apply_does_not_go_on_from_a_training_of_other_clusters(
    other: dict[str, Any], tmp_path: Path
) -> None:
    model = randomized(dense_model())
    context = context_for(model, tmp_path)
    masks = pruned(model, context)
    context, model = with_masks(context, masks.masks), masks.model
    clustered(model, saved_in(context, tmp_path / "checkpoints"), recovery=RECOVERY)

    again = clustered(
        model, saved_in(context, tmp_path / "checkpoints"), **other, recovery=RECOVERY
    )

    assert again.facts["resumed_at_step"] is None
