"""What passes through spans on real rows: how little they change it, what a bridge must give."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from worker.engine.loading.splits import Split
from worker.engine.surgery.spans.bridges import Plan, Projection, fitted
from worker.engine.surgery.spans.finding import Span
from worker.engine.surgery.spans.gates import stood_in
from worker.engine.surgery.spans.removal import Bridge
from worker.engine.surgery.spans.replay import Replay
from worker.engine.training.prediction import input_signature

Array = NDArray[Any]

# Entries and exits of all spans of a batch are in memory at once.
BATCH_SIZE = 32
# Positions (a row, or a place in it) that a projection is fitted to.
MAX_POSITIONS = 8192


def block_influence(
    model: keras.Model,
    spans: Sequence[Span],
    bridges: Mapping[str, Bridge],
    rows: Split,
    check_cancelled: Callable[[], None],
) -> dict[str, float]:
    """Mean over rows and positions of 1 - cosine of what a span is given and what it gives.

    BI = 1 - E[x_in . x_out / (|x_in| |x_out|)] (Men et al. 2024, arXiv:2403.03853, equation 1),
    with vectors along the last axis; for a bridged span x_in is what the bridge makes of it.
    """
    taps = _Taps(model, spans, _Distances(bridges), rows)
    totals = np.zeros(len(spans))
    for distances in taps.batches(check_cancelled):
        totals += [values.sum() for (values,) in distances]
    return {span.name: float(total) / len(rows) for span, total in zip(spans, totals, strict=True)}


def projections(
    model: keras.Model, plans: Sequence[Plan], rows: Split, check_cancelled: Callable[[], None]
) -> Iterator[tuple[Plan, Projection]]:
    """For every plan the projection that comes nearest to what its span gives on these rows."""
    if not plans:
        return
    batches = -(-len(rows) // rows.batch_size(BATCH_SIZE))
    reading = _Pairs({plan.span.name: plan for plan in plans}, -(-MAX_POSITIONS // batches))
    taps = _Taps(model, [plan.span for plan in plans], reading, rows)
    found = list(taps.batches(check_cancelled))
    for number, plan in enumerate(plans):
        check_cancelled()
        inputs, outputs = (
            np.concatenate([batch[number][side] for batch in found]) for side in (0, 1)
        )
        yield plan, fitted(inputs, outputs)


# A span, its entry, what it makes of it -> what is to be kept of both.
Reading = Callable[[Span, Any, Any], Sequence[Any]]


class _Taps:
    """Reads something at the exit of every span; the model's own results pass on unchanged."""

    def __init__(
        self, model: keras.Model, spans: Sequence[Span], reading: Reading, rows: Split
    ) -> None:
        self._replay = Replay(model, spans, self._passed)
        self._names = [span.name for span in spans]
        self._reading = reading
        self._rows = rows
        self._read: dict[str, Sequence[Any]] = {}
        self._compiled = tf.function(
            self._readings, input_signature=[input_signature(rows.columns)], autograph=False
        )

    def batches(self, check_cancelled: Callable[[], None]) -> Iterator[list[list[Array]]]:
        """What was read, batch by batch, in the order of the spans."""
        for inputs, _ in self._rows.batches(self._rows.batch_size(BATCH_SIZE)):
            check_cancelled()
            read = self._compiled(list(inputs.values()))
            yield [[value.numpy() for value in values] for values in read]

    def _readings(self, inputs: Sequence[Any]) -> list[Sequence[Any]]:
        self._replay(inputs)
        return [self._read[name] for name in self._names]

    def _passed(self, span: Span, entry: Any, made: Any) -> Any:
        self._read[span.name] = self._reading(span, entry, made)
        return made


@dataclass(frozen=True)
class _Distances:
    """1 - cosine, mean over the positions of each row: [rows]."""

    bridges: Mapping[str, Bridge]

    def __call__(self, span: Span, entry: Any, made: Any) -> Sequence[Any]:
        stand_in = tf.cast(stood_in(span, entry, self.bridges), tf.float32)
        made = tf.cast(made, tf.float32)
        lengths = tf.norm(stand_in, axis=-1) * tf.norm(made, axis=-1)
        products = tf.reduce_sum(stand_in * made, axis=-1)
        is_same = tf.reduce_all(tf.equal(stand_in, made), axis=-1)
        # Zero has no direction: it is the same as zero, and unlike everything else.
        cosines = tf.where(is_same, 1.0, tf.math.divide_no_nan(products, lengths))
        positions = tf.reshape(1.0 - cosines, [tf.shape(made)[0], -1])
        return [tf.reduce_mean(positions, axis=1)]


@dataclass(frozen=True)
class _Pairs:
    """Entries aligned with exits, [n, in] and [n, out]: some positions of each batch."""

    plans: Mapping[str, Plan]
    count: int

    def __call__(self, span: Span, entry: Any, made: Any) -> Sequence[Any]:
        aligned = self.plans[span.name].aligned(entry)
        sides = [tf.reshape(side, [-1, side.shape[-1]]) for side in (aligned, made)]
        order = tf.range(tf.shape(sides[0])[0])
        chosen = tf.random.experimental.stateless_shuffle(order, seed=[0, 0])[: self.count]
        return [tf.cast(tf.gather(side, chosen), tf.float32) for side in sides]
