"""Models rebuilt without some of their layers."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.builders import outputs_of, randomized, rows_for
from tests.residual import (
    dense_chain,
    masked_sequences,
    nested_chain,
    residual_model,
    transformer_model,
)
from worker.engine.surgery.spans.finding import removable_spans
from worker.engine.surgery.spans.removal import without_spans
from worker.engine.surgery.weights import named_weights

LAYERS = keras.layers


def without(model: Any, *names: str) -> Any:
    spans = removable_spans(model)
    return without_spans(model, [span for span in spans.matching if span.name in names], {}).model


def silenced(model: Any, *blocks: int) -> Any:
    """The model with blocks that add nothing: their last normalization gives 0."""
    for block in blocks:
        for weight in model.get_layer(f"norm_{block}_2").weights[:2]:
            weight.assign(np.zeros(weight.shape))
    return model


@pytest.mark.parametrize("blocks", [(1,), (0, 1), (0, 2), (0, 1, 2)])
def test_model_without_silent_blocks_computes_the_same(blocks: tuple[int, ...]) -> None:
    model = silenced(randomized(residual_model()), *blocks)

    smaller = without(model, *(f"add_{block}" for block in blocks))

    inputs = rows_for(model, 3)
    np.testing.assert_array_equal(outputs_of(smaller, inputs)[0], outputs_of(model, inputs)[0])
    assert len(smaller.layers) == len(model.layers) - 7 * len(blocks)


def test_readers_of_a_removed_layer_read_what_it_read() -> None:
    model = randomized(dense_chain())
    inputs = rows_for(model, 3)

    smaller = without(model, "dense_0", "dense_1")

    x = inputs["features"]
    for name in ("widen", "dense_2", "classes"):
        x = model.get_layer(name)(x)
    np.testing.assert_array_equal(outputs_of(smaller, inputs)[0], np.asarray(x))
    assert [layer.name for layer in smaller.layers] == ["widen", "dense_2", "classes"]


def test_layers_of_a_nested_model_go_and_the_rest_keeps_its_weights() -> None:
    model = randomized(nested_chain())

    smaller = without(model, "backbone/inner_1")

    left = named_weights(smaller)
    assert "backbone/inner_1/kernel" not in left
    for name, weight in left.items():
        np.testing.assert_array_equal(weight.numpy(), named_weights(model)[name].numpy())


def test_nested_model_goes_with_a_span_inside_it() -> None:
    smaller = without(randomized(nested_chain()), "backbone", "backbone/inner_0")

    assert [layer.name for layer in smaller.layers] == ["features", "first", "classes"]


@pytest.mark.parametrize("build", [residual_model, dense_chain, transformer_model, nested_chain])
def test_everything_removable_goes_at_once_and_the_ends_stay(build: Any, tmp_path: Path) -> None:
    model = randomized(build())

    smaller = without_spans(model, removable_spans(model).matching, {}).model

    smaller.save(tmp_path / "smaller.keras")
    again = keras.saving.load_model(tmp_path / "smaller.keras")
    inputs = rows_for(model, 3)
    np.testing.assert_array_equal(outputs_of(again, inputs)[0], outputs_of(smaller, inputs)[0])
    assert smaller.layers[-1].name == model.layers[-1].name
    assert [spec.name for spec in smaller.inputs] == [spec.name for spec in model.inputs]


@pytest.mark.parametrize("gone", [("add_0",), ("add_1",), ("add_0", "add_1")])
def test_what_is_left_of_a_masked_model_counts_the_same_steps(
    gone: tuple[str, ...], tmp_path: Path
) -> None:
    model = randomized(masked_sequences())
    words = np.array([[3, 1, 4, 1, 5, 0, 0, 0, 0, 0, 0, 0], [2, 7, 0, 8, 0, 0, 1, 8, 2, 8, 4, 0]])

    smaller = without(model, *gone)
    smaller.save(tmp_path / "smaller.keras")

    mask = keras.ops.not_equal(words, 0)
    x = model.get_layer("words_of")(words)
    for block in (0, 1):
        if f"add_{block}" not in gone:
            y = model.get_layer(f"both_ways_{block}")(x, mask=mask)
            x = x + model.get_layer(f"norm_{block}")(y)
    wanted = model.get_layer("classes")(model.get_layer("pool")(x, mask=mask))
    reloaded = keras.saving.load_model(tmp_path / "smaller.keras")
    for rebuilt in (smaller, reloaded):
        np.testing.assert_allclose(rebuilt(words), wanted, rtol=0, atol=1e-6)


def test_blocks_around_a_given_attention_mask_go_one_by_one_and_all_together() -> None:
    given, mask = keras.Input((5, 6), name="given"), keras.Input((5, 5), name="mask", dtype="bool")
    x = given
    for block in (0, 1):
        attention = LAYERS.MultiHeadAttention(2, 3, name=f"attention_{block}")
        x = LAYERS.Add(name=f"add_{block}")([x, attention(x, x, attention_mask=mask)])
    model = randomized(keras.Model([given, mask], LAYERS.Dense(2, name="last")(x)))
    rows = {"given": np.ones((2, 5, 6), np.float32), "mask": np.stack([np.tri(5, dtype=bool)] * 2)}

    once, twice = without(model, "add_0"), without(model, "add_0", "add_1")

    x = rows["given"]
    np.testing.assert_allclose(twice(rows), model.get_layer("last")(x), rtol=0, atol=1e-6)
    x = x + model.get_layer("attention_1")(x, x, attention_mask=rows["mask"])
    np.testing.assert_allclose(once(rows), model.get_layer("last")(x), rtol=0, atol=1e-6)


def test_given_model_stays_as_it_was() -> None:
    model = randomized(residual_model())
    before = model.get_weights()

    without(model, "add_0")

    assert len(model.layers) == len(residual_model().layers)
    for now, was in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, was)


def test_masks_are_those_of_weights_that_stay() -> None:
    model = randomized(residual_model())
    masks = {
        name: np.ones(weight.shape, np.bool_)
        for name, weight in named_weights(model).items()
        if name.endswith("kernel")
    }

    blocks = removable_spans(model).matching[:1]
    left = without_spans(model, blocks, masks).masks

    assert set(masks) - set(left) == {"conv_0_1/kernel", "conv_0_2/kernel"}


def test_outputs_keep_their_names_and_order() -> None:
    given = keras.Input((4,), name="given")
    x = LAYERS.Dense(4, name="one")(given)
    y = LAYERS.Dense(4, name="two")(x)
    model = keras.Model(
        given, {"b": LAYERS.Dense(2, name="b")(y), "a": LAYERS.Dense(3, name="a")(x)}
    )

    smaller = without(model, "one", "two")

    assert smaller.output_names == model.output_names
    assert sorted(smaller(rows_for(model, 2)["given"])) == ["a", "b"]
