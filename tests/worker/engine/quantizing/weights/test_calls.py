"""Rows on their way through a model, call by call."""

from typing import Any

import keras
import numpy as np
import pytest

from tests.builders import MODELS, outputs_of, randomized, rows_for
from worker.engine.quantizing.weights.calls import LayerCall, calls

layers = keras.layers


def called_twice() -> Any:
    """A nested model that is called on what it gave."""
    inside = keras.Input((4,), name="inside")
    nested = keras.Model(inside, layers.Dense(4, name="inner")(inside), name="nested")
    given = keras.Input((4,), name="given")
    return keras.Model(given, nested(nested(given)))


def masked() -> Any:
    """Words of which 0 counts as none, through an LSTM and a mean."""
    ids = keras.Input((6,), dtype="int32", name="ids")
    x = layers.Embedding(20, 4, mask_zero=True, name="words")(ids)
    x = layers.LSTM(5, return_sequences=True, name="memory")(x)
    return keras.Model(ids, layers.GlobalAveragePooling1D(name="mean")(x))


def bare_operations() -> Any:
    given = keras.Input((4,), name="given")
    x = keras.ops.relu(layers.Dense(6, name="dense")(given)) * 2.0 + 1.0
    return keras.Model(given, [x, keras.ops.reshape(x, (-1, 2, 3))])


def trained_for_ever() -> Any:
    given = keras.Input((4,), name="given")
    return keras.Model(given, layers.Dropout(0.5, name="drop")(given, training=True))


NETS = {
    **MODELS,
    "called twice": called_twice,
    "masked": masked,
    "bare operations": bare_operations,
    "trained for ever": trained_for_ever,
}


def walked(model: Any, rows: dict[str, Any]) -> tuple[list[LayerCall], list[Any]]:
    """Every call, and the outputs of all rows, in batches of two."""
    inputs = [[values[:2], values[2:]] for values in rows.values()]
    walk, made = calls(model, inputs), []
    while True:
        try:
            made.append(next(walk))
        except StopIteration as end:
            return made, [np.concatenate(batches) for batches in end.value]


@pytest.mark.parametrize("kind", sorted(NETS))
def test_outputs_are_those_of_the_model(kind: str) -> None:
    model = randomized(NETS[kind]())
    rows = rows_for(model, 4)

    _, outputs = walked(model, rows)

    for found, wanted in zip(outputs, outputs_of(model, rows), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_every_layer_is_met_at_each_of_its_calls() -> None:
    model = called_twice()

    made, _ = walked(model, rows_for(model, 4))

    assert [call.layer.name for call in made] == ["inner", "inner"]
    assert [tuple(tensor.shape for tensor in batch) for batch in made[0].given] == [
        ((2, 4),),
        ((2, 4),),
    ]


def test_a_layer_that_is_changed_at_its_call_computes_with_what_it_has_then() -> None:
    model = randomized(MODELS["dense"]())
    rows = rows_for(model, 4)
    walk = calls(model, [[values] for values in rows.values()])

    first = next(walk)
    first.layer.kernel.assign(np.zeros((4, 8)))
    first.layer.bias.assign(np.full(8, 2.0))
    second = next(walk)

    np.testing.assert_array_equal(np.asarray(second.given[0][0]), np.full((4, 8), 2.0))
