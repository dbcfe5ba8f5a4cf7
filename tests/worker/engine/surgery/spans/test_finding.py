"""Which layers of a model can be taken out together."""

import time
from typing import Any

import keras
import pytest

from app.recipes.keras.graph import Ref
from tests.builders import branched_model, normalization_model
from tests.residual import (
    dense_chain,
    masked_sequences,
    nested_chain,
    residual_block,
    residual_model,
    transformer_model,
)
from worker.engine.surgery.spans.finding import Span, removable_spans
from worker.engine.surgery.spans.removal import without_spans

LAYERS = keras.layers


def matching(model: Any) -> dict[str, Span]:
    return {span.name: span for span in removable_spans(model).matching}


def model_of(build: Any, shape: tuple[int, ...] = (8, 8, 3)) -> Any:
    """What `build` makes of an input, between two layers that change its width."""
    given = keras.Input(shape, name="given")
    x = LAYERS.Dense(6, name="first")(given)
    return keras.Model(given, LAYERS.Dense(2, name="last")(build(x)))


def test_spans_are_the_residual_blocks() -> None:
    found = matching(residual_model(blocks=2))

    assert list(found) == ["add_0", "add_1"]
    assert found["add_1"].entry == Ref("relu_0", 0, 0)
    assert found["add_1"].exit == Ref("relu_1", 0, 0)
    assert set(found["add_1"].layers) == {
        "conv_1_1", "norm_1_1", "relu_1_1", "conv_1_2", "norm_1_2", "add_1", "relu_1"
    }  # fmt: skip


def test_block_takes_the_activation_after_it_only_where_its_entry_had_the_same() -> None:
    model = model_of(lambda x: residual_block(x, 0, 6))

    (block,) = matching(model).values()

    assert block.exit == Ref("add_0", 0, 0)


def test_spans_of_a_transformer_are_attention_and_mlp_with_their_norms() -> None:
    found = matching(transformer_model())

    assert set(found["add_1"].layers) == {"norm_1", "attention", "add_1"}
    assert set(found["add_2"].layers) == {"norm_2", "expand", "project", "add_2"}
    assert list(found) == ["add_1", "add_2"]


def test_spans_of_a_chain_are_its_layers_of_one_width() -> None:
    found = matching(dense_chain(2))

    assert [span.layers for span in found.values()] == [("dense_0",), ("dense_1",)]


def conv_with_norm_and_activation(x: Any) -> Any:
    x = LAYERS.Conv2D(6, 3, padding="same", name="conv")(x)
    return LAYERS.ReLU(name="relu")(LAYERS.BatchNormalization(name="norm")(x))


def test_layer_takes_along_what_normalizes_and_activates_it() -> None:
    (span,) = matching(model_of(conv_with_norm_and_activation)).values()

    assert (span.name, span.layers) == ("conv", ("conv", "norm", "relu"))


def inverted_residual(x: Any) -> Any:
    y = LAYERS.Conv2D(12, 1, name="expand")(x)
    y = LAYERS.DepthwiseConv2D(3, padding="same", name="depthwise")(y)
    return LAYERS.Add(name="sum")([x, LAYERS.Conv2D(6, 1, name="project")(y)])


def squeeze_and_excitation(x: Any) -> Any:
    y = LAYERS.GlobalAveragePooling2D(keepdims=True)(x)
    y = LAYERS.Conv2D(6, 1, activation="sigmoid", name="gate")(y)
    return LAYERS.Multiply(name="sum")([x, y])


def inception(x: Any) -> Any:
    branches = [LAYERS.Conv2D(3, size, padding="same", name=f"by_{size}")(x) for size in (1, 3)]
    return LAYERS.Concatenate(name="sum")(branches)


def sum_with_excitation_inside(x: Any) -> Any:
    y = LAYERS.Conv2D(6, 3, padding="same", name="conv")(x)
    z = LAYERS.Conv2D(6, 1, activation="sigmoid", name="gate")(y)
    return LAYERS.Add(name="sum")([x, LAYERS.Multiply(name="inner")([y, z])])


@pytest.mark.parametrize(
    "build", [inverted_residual, squeeze_and_excitation, inception, sum_with_excitation_inside]
)
def test_block_of_another_kind_is_one_span(build: Any) -> None:
    (span,) = matching(model_of(build)).values()

    assert span.name == "sum"
    assert span.entry == Ref("first", 0, 0)


def bare_sum(x: Any) -> Any:
    return x + LAYERS.Dense(6, name="dense")(x)


def test_sum_without_a_layer_closes_a_block_as_well() -> None:
    (span,) = matching(model_of(bare_sum)).values()

    assert set(span.layers) == {"dense", span.name}


def test_inner_block_is_listed_beside_the_one_around_it() -> None:
    found = matching(model_of(lambda x: LAYERS.Add(name="outer")([x, inverted_residual(x)])))

    assert list(found) == ["sum", "outer"]
    assert found["sum"].lies_in(found["outer"])
    assert not found["outer"].lies_in(found["sum"])


def leaking_block(x: Any) -> Any:
    y = LAYERS.Dense(6, name="dense")(x)
    total = LAYERS.Add(name="sum")([x, LAYERS.Dense(6, name="more")(y)])
    return LAYERS.Concatenate()([total, LAYERS.Dense(2, name="tap")(y)])


def test_block_read_from_outside_is_none() -> None:
    assert "sum" not in matching(model_of(leaking_block))


def test_skip_from_the_input_hides_nothing() -> None:
    given = keras.Input((8, 8, 3))
    y = LAYERS.Conv2D(3, 3, padding="same", name="conv")(given)
    total = LAYERS.Add(name="sum")([given, LAYERS.Conv2D(3, 3, padding="same", name="again")(y)])

    found = matching(keras.Model(given, LAYERS.ReLU(name="clear")(total)))

    assert list(found) == ["conv", "again", "sum"]


def test_dense_block_leaves_its_entry_in_the_join() -> None:
    model = model_of(
        lambda x: LAYERS.Concatenate(name="join")(
            [x, LAYERS.Conv2D(2, 3, padding="same", name="grow")(x)]
        )
    )

    differing = {span.name: span for span in removable_spans(model).differing}

    assert differing["join"].layers == ("grow",)
    assert (differing["join"].entry_shape[-1], differing["join"].exit_shape[-1]) == (6, 2)


def test_layer_of_another_shape_differs_and_leaves_its_activation() -> None:
    spans = removable_spans(
        model_of(lambda x: LAYERS.ReLU()(LAYERS.Conv2D(4, 3, strides=2, name="conv")(x)))
    )

    conv = next(span for span in spans.differing if span.name == "conv")
    assert conv.layers == ("conv",)
    assert spans.kept["conv"] == "it makes (3, 3, 4) of (8, 8, 6)"


def test_nested_model_has_spans_and_is_one() -> None:
    found = matching(nested_chain())

    assert list(found) == ["first", "backbone", "backbone/inner_0", "backbone/inner_1"]
    assert found["backbone"].weighted == tuple(f"backbone/inner_{index}" for index in range(3))
    assert found["backbone/inner_0"].lies_in(found["backbone"])


def of_any_length(strides: int) -> Any:
    given = keras.Input((None, 6))
    x = LAYERS.Conv1D(6, 3, padding="same", strides=strides, name="conv")(given)
    return keras.Model(given, LAYERS.LSTM(2, name="last")(x))


def test_layer_that_keeps_an_open_length_matches() -> None:
    assert list(matching(of_any_length(1))) == ["conv"]


def test_layer_that_shortens_an_open_length_does_not_match() -> None:
    spans = removable_spans(of_any_length(2))

    assert spans.matching == ()
    assert spans.kept["conv"] == "it changes a length left open"


def test_nested_model_of_open_lengths_has_those_it_is_called_with() -> None:
    given = keras.Input((8, 6))
    x = of_any_length(2)
    inner = keras.Model(x.inputs, x.get_layer("conv").output, name="inner")

    spans = removable_spans(keras.Model(given, LAYERS.LSTM(2, name="last")(inner(given))))

    assert spans.kept["inner/conv"] == "it is an output of the model, whose name would be lost"
    assert next(span.exit_shape for span in spans.differing if span.name == "inner") == (None, 4, 6)


def test_shared_layer_stays() -> None:
    spans = removable_spans(branched_model())

    assert spans.kept["shared"] == "it is shared: used more than once"


def test_layers_of_a_nested_model_that_is_used_twice_stay() -> None:
    inside = keras.Input((4,))
    twice = keras.Model(
        inside, LAYERS.Dense(4, name="out")(LAYERS.Dense(4, name="inner")(inside)), name="twice"
    )
    given = keras.Input((4,))
    spans = removable_spans(keras.Model(given, LAYERS.Dense(2)(twice(twice(given)))))

    assert spans.matching == ()
    assert spans.kept["twice/inner"] == "it is shared: used more than once"


def test_masks_of_steps_are_no_paths_of_their_own() -> None:
    model = masked_sequences()

    found = matching(model)
    reloaded = matching(type(model).from_config(model.get_config()))

    assert list(found) == list(reloaded) == ["add_0", "add_1"]
    assert found["add_0"].entry == Ref("words_of", 0, 0)
    assert found["add_0"].layers == ("both_ways_0", "norm_0", "add_0")


def test_block_that_a_mask_is_made_of_is_none() -> None:
    given = keras.Input((5, 6))
    hidden = LAYERS.Dense(6, name="hidden")(given)
    x = LAYERS.Add(name="add")([given, hidden])
    x = LAYERS.GRU(4)(x, mask=hidden[:, :, 0] > 0)

    assert "add" not in matching(keras.Model(given, LAYERS.Dense(2)(x)))


def test_outputs_stay() -> None:
    given = keras.Input((4,))
    x = LAYERS.Dense(4, name="early")(given)
    y = LAYERS.Dense(4, name="late")(x)
    spans = removable_spans(keras.Model(given, [x, LAYERS.Dense(4, name="end")(y)]))

    assert [span.name for span in spans.matching] == ["late"]
    assert spans.kept["early"] == "it is an output of the model, whose name would be lost"


def test_scaling_of_inputs_stays() -> None:
    assert removable_spans(normalization_model()).kept["scale"] == "it scales an input"


@pytest.mark.parametrize(
    ("path", "name"), [("conv_1_2", "add_1"), ("add_1", "add_1"), ("stem", "stem"), ("pool", None)]
)
def test_holding_gives_the_smallest_span_with_a_layer(path: str, name: str | None) -> None:
    span = removable_spans(residual_model()).holding(path)

    assert (span and span.name) == name


def seconds_of_surgery(model: Any) -> float:
    """Of this process's own time: others share the machine."""
    started = time.process_time()
    spans = removable_spans(model).matching
    without_spans(model, spans[::2], {})
    return time.process_time() - started


def test_surgery_takes_time_linear_in_layers() -> None:
    small, large = residual_model(28), residual_model(56)
    assert (len(small.layers), len(large.layers)) == (200, 396)
    # The first run of all loads what the later ones find loaded.
    seconds_of_surgery(residual_model(2))

    short, long = (min(seconds_of_surgery(m) for _ in range(2)) for m in (small, large))

    assert long < 3 * short
