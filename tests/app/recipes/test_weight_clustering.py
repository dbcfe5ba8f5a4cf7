"""What of weight clustering may be asked."""

from typing import Any

import pytest
from pydantic import ValidationError

from app.recipes.facts import LayerSpec
from app.recipes.steps.base import Given, Need
from app.recipes.steps.weight_clustering import WeightClustering
from tests.app.recipes.test_check import classifier, digits


def asked(**parameters: Any) -> WeightClustering:
    return WeightClustering.model_validate(parameters)


def layer(name: str, parameter_count: int | None) -> LayerSpec:
    return LayerSpec(name=name, class_name="Dense", parameter_count=parameter_count)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"number_of_clusters": 1}, "greater than or equal to 2"),
        ({"number_of_clusters": 257}, "less than or equal to 256"),
        ({"number_of_clusters": 8.5}, "valid integer"),
        ({"centroid_init": "random"}, "'linear', 'density' or 'kmeans"),
        ({"granularity": "per_group"}, "'per_tensor' or 'per_channel'"),
        ({"train_centroids": False}, "has no effect without a recovery"),
    ],
)
def test_what_cannot_be_is_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        asked(**parameters)


def test_clustering_alone_needs_no_data() -> None:
    assert asked().all_needs() == frozenset()
    assert not asked().trains_centroids


def test_a_recovery_trains_centroids_unless_told_otherwise() -> None:
    assert asked(recovery={}).trains_centroids
    assert not asked(recovery={}, train_centroids=False).trains_centroids
    assert asked(recovery={}).all_needs() == {Need.TRAINING_DATA, Need.LABELS}


@pytest.mark.parametrize("given", [{}, {"recovery": None}])
def test_trained_centroids_bring_their_recovery(given: dict[str, Any]) -> None:
    step = asked(train_centroids=True, **given)

    assert step.recovery is not None
    assert step.recovery.epochs == 2


@pytest.mark.parametrize(
    "parameters",
    [{}, {"train_centroids": True}, {"recovery": {}}, {"recovery": {}, "train_centroids": False}],
)
def test_a_stored_step_with_every_default_is_read_back(parameters: dict[str, Any]) -> None:
    step = asked(**parameters)

    assert WeightClustering.model_validate_json(step.model_dump_json()) == step


def complaints(step: WeightClustering, *layers: LayerSpec) -> list[str]:
    model = classifier().model_copy(update={"layers": layers})
    return [f"{one.pointer}: {one.detail}" for one in step.complaints(Given(model, digits()))]


def test_more_clusters_than_any_chosen_layer_has_parameters_are_refused() -> None:
    layers = (layer("wide", 1000), layer("narrow", 40), layer("relu", 0))

    assert complaints(asked(number_of_clusters=64), *layers) == []
    assert complaints(asked(number_of_clusters=32, include=["narrow"]), *layers) == []
    [complaint] = complaints(asked(number_of_clusters=64, include=["narrow"]), *layers)
    assert complaint.startswith("/number_of_clusters: no chosen layer has more than 40 parameters")


def test_nothing_is_refused_where_parameters_are_not_known() -> None:
    assert complaints(asked(), layer("narrow", 4), layer("unknown", None)) == []
    assert complaints(asked(), layer("relu", 0)) == []
