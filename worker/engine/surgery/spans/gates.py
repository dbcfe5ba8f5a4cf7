"""A model in which spans can be switched off, so that any choice of them is tried at once.

To rebuild and compile a model takes seconds; to choose 12 of 16 blocks greedily, 130 models have to
be tried.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from worker.engine.loading.splits import Column
from worker.engine.surgery.spans.finding import Span
from worker.engine.surgery.spans.removal import Bridge
from worker.engine.surgery.spans.replay import Replay
from worker.engine.training.prediction import input_signature

Array = NDArray[Any]


class GatedModel:
    """The outputs of a model without the spans that `close` names, compiled once.

    What a closed span makes is computed all the same, and its entry (or its bridge) is taken in its
    place: a choice, not a weighted sum, so that the outputs are those of the rebuilt model.
    """

    def __init__(
        self,
        model: keras.Model,
        spans: Sequence[Span],
        bridges: Mapping[str, Bridge],
        columns: Mapping[str, Column],
    ) -> None:
        self._numbers = {span.name: number for number, span in enumerate(spans)}
        self._bridges = bridges
        self._open = tf.Variable(np.ones(len(spans), np.bool_), trainable=False)
        self._compiled = tf.function(
            Replay(model, spans, self._passed),
            input_signature=[input_signature(columns)],
            autograph=False,
        )

    def close(self, names: Iterable[str]) -> None:
        """Switch these spans off, and all others on."""
        is_open = np.ones(len(self._numbers), np.bool_)
        is_open[[self._numbers[name] for name in names]] = False
        self._open.assign(is_open)

    def __call__(self, inputs: Mapping[str, Array]) -> list[Array]:
        return [output.numpy() for output in self._compiled(list(inputs.values()))]

    def _passed(self, span: Span, entry: Any, made: Any) -> Any:
        stand_in = stood_in(span, entry, self._bridges)
        passed = tf.where(self._open[self._numbers[span.name]], made, stand_in)
        # Keras hands masks of time steps on as an attribute of tensors.
        if hasattr(made, "_keras_mask"):
            passed._keras_mask = made._keras_mask
        return passed


def stood_in(span: Span, entry: Any, bridges: Mapping[str, Bridge]) -> Any:
    """What readers of a span's exit are given in its absence."""
    for layer in bridges[span.name].layers if span.name in bridges else ():
        entry = layer(entry)
    return entry
