"""Scores of units by importance: what they are made of, and with what they are compared."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.builders import context_for, randomized, step
from worker.engine.pruning.scoring import scores, unscored
from worker.engine.pruning.taylor import Sample, squared_changes
from worker.engine.surgery.channels.graph import channel_graph
from worker.engine.surgery.weights import assign_weights

L = keras.layers


def twins() -> Any:
    """Two dense layers of the same kind and one of another, then the classes."""
    keras.utils.set_random_seed(1)
    given = keras.Input((4,), name="given")
    x = L.Dense(2, name="weak")(given)
    x = L.Dense(2, name="strong")(x)
    x = L.BatchNormalization(name="norm")(L.Dense(2, name="other")(x))
    model = randomized(keras.Model(given, L.Dense(3, activation="softmax", name="classes")(x)))
    values = {
        "weak/kernel": np.tile([1.0, 3.0], (4, 1)),
        "strong/kernel": np.tile([4.0, 8.0], (2, 1)),
        "other/kernel": np.tile([100.0, 300.0], (2, 1)),
        "norm/gamma": np.array([-3.0, 1.0]),
    }
    assign_weights(model, values)
    return model


def scored(model: Any, folder: Path, **parameters: Any) -> dict[str, list[float]]:
    graph = channel_graph(model)
    asked = step("channel_pruning", **parameters)
    groups = [
        group for group in graph.groups if group.name not in unscored(asked, model, graph.groups)
    ]
    found = scores(asked, model, groups, context_for(model, folder))
    return {name: of_units.tolist() for name, of_units in found.items()}


def test_scores_of_each_layer_have_a_mean_of_one(tmp_path: Path) -> None:
    found = scored(twins(), tmp_path)

    assert found["weak"] == [0.5, 1.5]
    assert found["strong"] == pytest.approx([2 / 3, 4 / 3])
    assert found["other"] == [0.5, 1.5]


def test_scores_of_layers_of_one_kind_share_their_mean_when_ranked_together(
    tmp_path: Path,
) -> None:
    found = scored(twins(), tmp_path, scope="global")

    assert (found["weak"], found["strong"]) == ([0.25, 0.75], [1.0, 2.0])
    assert found["other"] == [0.5, 1.5]


def test_scores_by_scale_are_magnitudes_and_only_of_what_is_scaled(tmp_path: Path) -> None:
    assert scored(twins(), tmp_path, importance="bn_scale") == {"other": [1.5, 0.5]}


def test_scores_by_chance_follow_from_the_seed(tmp_path: Path) -> None:
    first, again = (scored(twins(), tmp_path, importance="random") for _ in range(2))

    assert first == again
    assert len({tuple(of_units) for of_units in first.values()}) == 3


def test_scores_by_taylor_are_roots_relative_to_their_mean(tmp_path: Path) -> None:
    model = twins()
    context = context_for(model, tmp_path)
    rows, _ = context.divided(0.1)
    groups = channel_graph(model).groups
    roots = {
        name: np.sqrt(squares)
        for name, squares in squared_changes(
            model, groups, context, Sample(rows, 32, "auto")
        ).items()
    }

    found = scored(model, tmp_path, importance="taylor")

    for name, root in roots.items():
        np.testing.assert_allclose(found[name], root / root.mean(), rtol=1e-5)
