"""One compiled model stands for every choice of spans."""

from itertools import combinations
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.builders import data_for, outputs_of, randomized
from tests.residual import dense_chain, nested_chain, residual_model, transformer_model
from worker.engine.surgery.spans.bridges import Plan, plan_of
from worker.engine.surgery.spans.finding import removable_spans
from worker.engine.surgery.spans.gates import GatedModel
from worker.engine.surgery.spans.removal import without_spans

LAYERS = keras.layers


def masked_model() -> Any:
    """Steps that are 0 are masked: what is read after a removed layer has to see that, too."""
    sequence = keras.Input((5, 4), name="sequence")
    x = LAYERS.Masking(name="mask")(sequence)
    for index in range(2):
        x = LAYERS.LSTM(4, return_sequences=True, name=f"lstm_{index}")(x)
    return keras.Model(sequence, LAYERS.LSTM(3, name="last")(x), name="masked_model")


def dropped_model() -> Any:
    """A dropout that was told to train for ever is silent at inference all the same."""
    given = keras.Input((4,), name="features")
    x = LAYERS.Dense(4, name="dense")(given)
    x = LAYERS.Dropout(0.5, name="drop")(x, training=True)
    return keras.Model(given, LAYERS.Dense(3, name="classes")(x), name="dropped_model")


@pytest.mark.parametrize(
    "build",
    [residual_model, dense_chain, transformer_model, nested_chain, masked_model, dropped_model],
)
def test_gated_model_gives_what_the_rebuilt_one_gives(build: Any, tmp_path: Path) -> None:
    model = randomized(build())
    split = data_for(model, tmp_path, train_rows=8).train
    inputs = split.take(8)
    inputs[next(iter(inputs))][:, -1] = 0
    spans = removable_spans(model).matching
    gated = GatedModel(model, spans, {}, split.columns)

    for count in range(len(spans) + 1):
        for closed in combinations(spans, count):
            gated.close(span.name for span in closed)
            rebuilt = without_spans(model, closed, {}).model
            for ours, theirs in zip(gated(inputs), outputs_of(rebuilt, inputs), strict=True):
                np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_gated_model_takes_the_bridge_of_a_span(tmp_path: Path) -> None:
    given = keras.Input((8, 8, 3), name="picture")
    x = LAYERS.Conv2D(6, 3, strides=2, padding="same", name="conv")(given)
    x = LAYERS.GlobalAveragePooling2D()(x)
    model = randomized(keras.Model(given, LAYERS.Dense(3, name="logits")(x)))
    span = next(s for s in removable_spans(model).differing if s.name == "conv")
    plan = plan_of(span, model.get_layer("conv"))
    assert isinstance(plan, Plan)
    rng = np.random.default_rng(0)
    bridge = plan.bridge(rng.standard_normal((3, 6)), rng.standard_normal(6))
    split = data_for(model, tmp_path, train_rows=8).train
    gated = GatedModel(model, [span], {"conv": bridge}, split.columns)

    gated.close(["conv"])

    rebuilt = without_spans(model, [span], {}, {"conv": bridge}).model
    assert "conv_bridge" in [layer.name for layer in rebuilt.layers]
    inputs = split.take(8)
    np.testing.assert_allclose(gated(inputs)[0], outputs_of(rebuilt, inputs)[0], atol=1e-5)
