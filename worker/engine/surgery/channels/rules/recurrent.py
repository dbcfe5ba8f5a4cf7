"""Recurrent layers: a unit is a column of every gate, and a row of the recurrent kernel."""

from collections.abc import Sequence
from dataclasses import replace

import keras
import numpy as np

from worker.engine.surgery.channels.calls import Axes, Call, Shape, Tensor
from worker.engine.surgery.channels.ids import IntArray
from worker.engine.surgery.channels.ledger import Ledger
from worker.engine.surgery.channels.rules.activations import activated

READ = frozenset({"initial_state"})
_RECURRENT = (keras.layers.LSTM, keras.layers.GRU, keras.layers.SimpleRNN)


def recurrent(ledger: Ledger, call: Call) -> list[Axes]:
    """The output and all states are [..., units]."""
    units = _units(ledger, call, call.given, _states(call))
    return [_last(shape, units) for shape in call.shapes]


def bidirectional(ledger: Ledger, call: Call) -> list[Axes]:
    """Two layers, the second one backwards; `merge_mode` brings their outputs together.

    Keras computes the shape of a concatenation as twice that of the forward half, so both have to
    keep equally many units: the i-th of one goes with the i-th of the other.
    """
    halves = (call.layer.forward_layer, call.layer.backward_layer)
    if any(type(half) not in _RECURRENT for half in halves):
        return ledger.refuse(call, f"there is no rule for {type(halves[0]).__name__} in it")
    if halves[0].cell.units != halves[1].cell.units:
        return ledger.refuse(call, "its halves differ in units")
    states = _states(call)
    forward, backward = (
        _units(
            ledger,
            replace(call, layer=half, keys=(*call.keys, key, "config")),
            call.given,
            states[at * len(states) // 2 : (at + 1) * len(states) // 2],
            "" if at == 0 else "backward",
        )
        for at, (half, key) in enumerate(zip(halves, ("layer", "backward_layer"), strict=True))
    )
    units = ledger.ids.unite(forward, backward, "both halves keep equally many units")
    if call.layer.merge_mode != "concat":
        return [_last(shape, units) for shape in call.shapes]
    joined = np.concatenate([units, units])
    return [_last(call.shapes[0], joined), *(_last(shape, units) for shape in call.shapes[1:])]


def _units(
    ledger: Ledger, call: Call, sequence: Tensor, states: Sequence[Tensor], part: str = ""
) -> IntArray:
    """Kernel [in, gates * units], recurrent kernel [units, gates * units].

    bias: [gates * units]; a GRU with `reset_after` has two, [2, 3 * units].
    """
    ledger.only_last(call, sequence)
    cell = call.layer.cell
    units = ledger.new(call, cell.units, part)
    gates = np.tile(units, cell.kernel.shape[1] // cell.units)
    ledger.bind(call, cell.kernel, 0, sequence.along(-1), "input")
    ledger.bind(call, cell.kernel, 1, gates, "output")
    ledger.bind(call, cell.recurrent_kernel, 0, units, "input")
    ledger.bind(call, cell.recurrent_kernel, 1, gates, "output")
    ledger.bind(call, cell.bias, -1, gates, "output")
    ledger.size(call, ("units",), units)
    activated(ledger, call, units)
    for state in states:
        ledger.ids.unite(units, state.along(-1), f"{call.name!r} starts from a state that is given")
    return units


def _states(call: Call) -> list[Tensor]:
    """Initial states, as further arguments or by keyword; never the mask."""
    given = (call.arguments[1:2], call.keywords.get("initial_state"))
    return [item for item in keras.tree.flatten(given) if isinstance(item, Tensor)]


def _last(shape: Shape, ids: IntArray) -> Axes:
    return {len(shape) - 1: ids}
