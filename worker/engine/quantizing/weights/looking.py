"""Shows a quantizer what each kernel is multiplied with, layer after layer."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import keras

from worker.engine.quantizing.weights.calls import LayerCall, calls
from worker.engine.quantizing.weights.moments import Moments
from worker.engine.quantizing.weights.quantizer import Quantizer
from worker.engine.quantizing.weights.rows import CalibrationRows
from worker.engine.quantizing.weights.views import View, views
from worker.engine.surgery.wiring import Structure

# Places (a row, or a place in it) that a layer is looked at in, over all rows.
MAX_POSITIONS = 4096
UNSEEN = "what it is multiplied with cannot be looked at"
ROW_ALONE = "an input picks one row of it, so no weight can make good for another"

Views = Mapping[str, tuple[keras.Layer, View]]


class Look:
    """Rows on their way through two models alike: as it was, and on its way to being quantized.

    `products`: whether more than means is looked at.
    """

    def __init__(
        self, before: keras.Model, quantizer: Quantizer, rows: CalibrationRows, *, products: bool
    ) -> None:
        self._before = before
        self._quantizer = quantizer
        self._rows = rows
        self._products = products
        self._was, self._now = views(before), views(quantizer.done.model)

    def quantize(self) -> None:
        """Each kernel when all before it are quantized, with what rows make of those.

        A layer that is used more than once is rounded at its first use, by what it is given in the
        model as it was, all uses together. What cannot be looked at is rounded alone.
        """
        done = self._quantizer.done
        names = list(self._quantizer.chosen)
        for name in names:
            if name not in self._now:
                self._round_unseen(name)
        waiting = _by_layer((name for name in names if name in self._now), self._now)
        shared = self._moments_of_shared(waiting)
        both = zip(
            calls(self._before, self._rows.inputs),
            calls(done.model, self._rows.inputs),
            strict=True,
        )
        for was, now in both:
            for name in waiting.pop(id(now.layer), ()):
                moments = shared.get(name) or self._moments(name, was, now)
                self._quantizer.seen(name, self._now[name][1], moments)
            if not waiting:
                break
        for names in waiting.values():
            for name in names:
                self._round_unseen(name)

    def _round_unseen(self, name: str) -> None:
        self._quantizer.alone(name)
        done = self._quantizer.done
        reason = ROW_ALONE if name.endswith("/embeddings") else UNSEEN
        done.facts[name]["rounded_alone"] = reason
        done.biases[name] = {"corrected": False, "because": reason}

    def _moments_of_shared(self, waiting: Mapping[int, list[str]]) -> dict[str, Moments]:
        shared = Structure.of(self._quantizer.done.model).shared
        names = [name for layer in waiting.keys() & shared for name in waiting[layer]]
        by_layer = _by_layer(names, self._was)
        found = {name: Moments() for name in names}
        for call in calls(self._before, self._rows.inputs) if names else ():
            for name in by_layer.get(id(call.layer), ()):
                self._add(found[name], name, call, call, same=True)
        return found

    def _moments(self, name: str, was: LayerCall, now: LayerCall) -> Moments:
        moments = Moments()
        self._add(moments, name, was, now, same=False)
        return moments

    def _add(
        self, moments: Moments, name: str, was: LayerCall, now: LayerCall, *, same: bool
    ) -> None:
        """Count in one call, batch by batch; the same places of both."""
        before, after = self._was[name][1], (self._was if same else self._now)[name][1]
        limit = max(1, MAX_POSITIONS // len(was.given))
        for number, (one, other) in enumerate(zip(was.given, now.given, strict=True)):
            moments.add(
                before.vectors(one, limit, (number,)),
                after.vectors(other, limit, (number,)),
                products=self._products,
            )


def _by_layer(names: Iterable[str], known: Views) -> dict[int, list[str]]:
    """Identity of the called layer -> its kernels, in order."""
    found: dict[int, list[str]] = defaultdict(list)
    for name in names:
        found[id(known[name][0])].append(name)
    return dict(found)
