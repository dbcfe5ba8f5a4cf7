"""Which layer takes the weights of which."""

import pytest

from worker.engine.initializing.pairing import EXACT, SLICED, LayerShapes, fit, pair_layers


def dense(path: str, inputs: int, units: int) -> LayerShapes:
    return LayerShapes(path, "Dense", {"kernel": (inputs, units), "bias": (units,)})


def conv(path: str, inputs: int, filters: int) -> LayerShapes:
    return LayerShapes(path, "Conv2D", {"kernel": (3, 3, inputs, filters)})


def test_fit_is_exact_sliced_or_none() -> None:
    assert fit(dense("a", 4, 8), dense("b", 4, 8)) == EXACT
    assert fit(dense("a", 4, 8), dense("b", 6, 8)) == SLICED
    assert fit(dense("a", 4, 8), dense("b", 4, 7)) == 0
    assert fit(dense("a", 4, 8), conv("b", 4, 8)) == 0


def test_layers_are_paired_by_name_whatever_their_order() -> None:
    ours = [dense("stem", 4, 8), dense("head", 8, 3)]
    theirs = [dense("head", 16, 3), dense("stem", 4, 16)]

    assert pair_layers(ours, theirs) == {"stem": "stem", "head": "head"}


def test_layer_of_a_nested_model_is_found_by_its_own_name() -> None:
    assert pair_layers([dense("stem", 4, 8)], [dense("backbone/stem", 4, 8)]) == {
        "stem": "backbone/stem"
    }


def test_name_that_keras_made_up_counts_only_for_equal_shapes() -> None:
    # By name the head would take the second layer of a deeper model.
    ours = [dense("dense", 4, 8), dense("dense_1", 8, 3)]
    theirs = [dense("dense", 4, 16), dense("dense_1", 16, 8), dense("dense_2", 8, 3)]

    assert pair_layers(ours, theirs) == {"dense": "dense", "dense_1": "dense_2"}


def test_equal_layers_keep_their_names_when_one_is_missing() -> None:
    theirs = [conv(f"conv2d_{number}", 8, 8) for number in range(4)]
    ours = [theirs[0], theirs[2], theirs[3]]

    assert pair_layers(ours, theirs) == {layer.path: layer.path for layer in ours}


def test_names_that_go_on_counting_do_not_rotate_the_layers() -> None:
    # The second of two equal models that were made in one process, after a layer of neither.
    theirs = [dense(f"dense{number}", 16, 16) for number in ("", "_1", "_2", "_3")]
    ours = [dense(f"dense_{number}", 16, 16) for number in (1, 2, 3, 4)]

    assert pair_layers(ours, theirs) == {
        "dense_1": "dense",
        "dense_2": "dense_1",
        "dense_3": "dense_2",
        "dense_4": "dense_3",
    }


def test_made_up_names_count_if_all_of_ours_are_there_whatever_their_order() -> None:
    theirs = [dense("dense", 4, 4), dense("dense_1", 4, 4), dense("head", 4, 3)]
    ours = [dense("dense_1", 4, 4), dense("dense", 4, 4), dense("head", 4, 3)]

    assert pair_layers(ours, theirs) == {layer.path: layer.path for layer in ours}


def test_what_is_left_is_paired_in_order() -> None:
    ours = [dense("first", 4, 8), conv("picture", 1, 2), dense("last", 8, 3)]
    theirs = [dense("a", 4, 8), dense("b", 8, 3)]

    assert pair_layers(ours, theirs) == {"first": "a", "last": "b"}


def test_order_prefers_the_alignment_that_fits_most() -> None:
    # Taken greedily, `first` would go with `a` and nothing would be left for `last`.
    ours = [dense("first", 4, 4), dense("last", 4, 4)]
    theirs = [dense("a", 4, 6), dense("b", 6, 2), dense("c", 4, 4), dense("d", 4, 4)]

    assert pair_layers(ours, theirs) == {"first": "c", "last": "d"}


def test_wider_layer_than_theirs_has_no_counterpart() -> None:
    assert pair_layers([dense("stem", 4, 16)], [dense("stem", 4, 8)]) == {}


@pytest.mark.parametrize(
    ("name", "kind", "is_own"),
    [
        ("dense", "Dense", False),
        ("dense_12", "Dense", False),
        ("conv2d_transpose_1", "Conv2DTranspose", False),
        ("batch_normalization_3", "BatchNormalization", False),
        ("logits", "Dense", True),
        ("block1_conv2", "Conv2D", True),
    ],
)
def test_made_up_names_are_known(name: str, kind: str, is_own: bool) -> None:
    assert LayerShapes(f"backbone/{name}", kind, {}).has_own_name is is_own
