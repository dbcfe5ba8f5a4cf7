"""Names for the weights of a model that stay the same when the model is rebuilt.

`keras.Variable.path` does not: it depends on how a model was built, and two nested models may hold
the same path. Here a weight is called by the layers it lies in: `backbone/conv1/kernel`; a second
weight of the same name within one layer (the backward half of Bidirectional) ends in `_1`.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
from numpy.typing import NDArray

# What Keras calls a weight that its layer gave no name: it counts up, from one model to the next.
_COUNTED = re.compile(r"variable(_\d+)?")


@dataclass(frozen=True)
class Leaf:
    """A layer that is no model itself. `name` leads to it: `outer_model/inner_model/layer`."""

    name: str
    layer: keras.Layer

    def weights(self) -> dict[str, keras.Variable]:
        """Every weight of the layer and of what it wraps, by its stable name."""
        seen: Counter[str] = Counter()
        named: dict[str, keras.Variable] = {}
        for variable in self.layer.weights:
            name = "variable" if _COUNTED.fullmatch(variable.name) else variable.name
            suffix = f"_{seen[name]}" if seen[name] else ""
            named[f"{self.name}/{name}{suffix}"] = variable
            seen[name] += 1
        return named


def leaves(model: keras.Model) -> tuple[Leaf, ...]:
    """Every layer once, in the model's order; nested models are walked into."""
    found = {id(leaf.layer): leaf for leaf in reversed(tuple(_walk(model, "")))}
    return tuple(reversed(found.values()))


def named_weights(model: keras.Model) -> dict[str, keras.Variable]:
    """Every weight of every layer by its stable name."""
    return {name: weight for leaf in leaves(model) for name, weight in leaf.weights().items()}


def assign_weights(model: keras.Model, values: Mapping[str, NDArray[Any]]) -> None:
    """Give weights new values by stable name, and renew what layers derived from the old ones.

    A Normalization computes with tensors that it made of its weights when it was built; only its
    `finalize_state` makes them anew. (A Discretization keeps its boundaries in its configuration,
    and its `finalize_state` would lose them.)
    """
    weights = named_weights(model)
    for name, value in values.items():
        weights[name].assign(value)
    for leaf in leaves(model):
        for layer in sublayers(leaf.layer):
            if isinstance(layer, keras.layers.Normalization):
                layer.finalize_state()


def sublayers(layer: keras.Layer) -> tuple[keras.Layer, ...]:
    """The layer and all it wraps: cells, halves, projections.

    Keras has no public way to ask; `_flatten_layers` is what its own `trainable_variables` uses.
    """
    return tuple(layer._flatten_layers())


def _walk(model: keras.Model, prefix: str) -> Iterator[Leaf]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _walk(layer, f"{prefix}{layer.name}/")
        else:
            yield Leaf(f"{prefix}{layer.name}", layer)
