"""Layers whose channels can surely be taken out, read from a model's configuration; pure.

The engine follows channels through far more kinds of layers. Here only what is beyond doubt counts:
a request is refused for it before anything is loaded.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from app.recipes.keras.graph import Config, Graph

SUMMING = frozenset({"Dense", "Conv1D", "Conv2D", "Conv3D"})
PASSING = frozenset(
    {
        "AveragePooling1D",
        "AveragePooling2D",
        "AveragePooling3D",
        "BatchNormalization",
        "Dropout",
        "ELU",
        "Flatten",
        "GlobalAveragePooling1D",
        "GlobalAveragePooling2D",
        "GlobalAveragePooling3D",
        "GlobalMaxPooling1D",
        "GlobalMaxPooling2D",
        "GlobalMaxPooling3D",
        "LeakyReLU",
        "MaxPooling1D",
        "MaxPooling2D",
        "MaxPooling3D",
        "ReLU",
        "ZeroPadding1D",
        "ZeroPadding2D",
        "ZeroPadding3D",
    }
)
ACTIVATIONS = frozenset(
    {"linear", "relu", "relu6", "elu", "selu", "gelu", "silu", "swish", "tanh", "sigmoid"}
)


def removable_units(config: Config) -> dict[str, int]:
    """Layer -> its channels: all that one other summing layer alone reads, within one level.

    Nested models are not walked into. Heads of an attention belong to nothing else.
    """
    chains = _Chains.of(Graph.of(config))
    found = {name: _units(layer) for name, layer in chains.layers.items()}
    channels = {
        name: units for name, units in found.items() if units and chains.ends_in_a_sum(name)
    }
    return channels | dict(_heads(chains.layers))


def _heads(layers: Mapping[str, Config]) -> Iterator[tuple[str, int]]:
    for name, layer in layers.items():
        heads, config = layer["config"].get("num_heads"), layer["config"]
        is_plain = not config.get("output_shape") and not config.get("quantization_config")
        if layer["class_name"] == "MultiHeadAttention" and is_plain and isinstance(heads, int):
            yield name, heads


@dataclass(frozen=True)
class _Chains:
    """Who reads each layer, where one layer alone does, and that layer reads nothing else.

    So chains never meet, and following one ends, whatever an upload claims.
    """

    layers: Mapping[str, Config]
    reader: Mapping[str, str]

    @classmethod
    def of(cls, graph: Graph) -> "_Chains":
        calls = Counter(name for name, _ in graph.calls)
        readers = Counter(ref.layer for refs in graph.calls.values() for ref in set(refs))
        outputs = {ref.layer for ref in graph.outputs}
        reader = {
            refs[0].layer: name
            for (name, _), refs in graph.calls.items()
            if len(refs) == calls[name] == readers[refs[0].layer] == 1
            and refs[0].layer not in outputs
        }
        return cls(graph.layers, reader)

    def ends_in_a_sum(self, name: str) -> bool:
        """Whether channels only pass from here to the next layer that sums over them."""
        following = self.reader.get(name)
        while following is not None and self.layers[following]["class_name"] in PASSING:
            following = self.reader.get(following)
        return following is not None and _is_plain(self.layers[following])


def _units(layer: Config) -> int | None:
    activation = layer["config"].get("activation")
    if not _is_plain(layer) or not isinstance(activation, str) or activation not in ACTIVATIONS:
        return None
    units = layer["config"].get("units", layer["config"].get("filters"))
    return units if isinstance(units, int) else None


def _is_plain(layer: Config) -> bool:
    """Whether it sums over all its channels, and is no special case."""
    config = layer["config"]
    return (
        layer["class_name"] in SUMMING
        and config.get("groups", 1) == 1
        and config.get("data_format") != "channels_first"
        and not config.get("lora_rank")
    )
