"""Reads a Keras model's configuration: what goes in, what comes out, how each output ends; pure.

A *config* is the dict `{"class_name": "Functional" | "Sequential", "config": {...}}` that Keras
writes as `config.json`, keeps in the `model_config` attribute of `.h5`, and returns from
`json.loads(model.to_json())`. Nothing is built or imported.
A config is taken as well formed; what is not raises `KeyError`, `TypeError`, `IndexError` or
`ValueError` somewhere inside.
"""

from collections.abc import Iterator

from app.recipes.facts import Head, TensorSpec
from app.recipes.keras.ends import ends_of
from app.recipes.keras.graph import Config, Graph, Shape, is_model
from app.recipes.keras.losses import compiled_losses

RECURRENT = frozenset(
    {
        "LSTM",
        "GRU",
        "SimpleRNN",
        "RNN",
        "Bidirectional",
        "ConvLSTM1D",
        "ConvLSTM2D",
        "ConvLSTM3D",
    }
)
WRAPPED = ("layer", "backward_layer", "cell")


def inputs(config: Config) -> tuple[TensorSpec, ...]:
    """Every input in Keras' order; a single one of unknown shape where the model is not built."""
    graph = Graph.of(config)
    return tuple(
        TensorSpec(
            name=ref.layer,
            shape=_without_batch(graph.shape(ref)),
            dtype=graph.input_dtype(ref),
        )
        for ref in graph.inputs
    )


def outputs(config: Config) -> tuple[TensorSpec, ...]:
    """Every output under Keras' name for it, in Keras' order."""
    graph = Graph.of(config)
    return tuple(
        TensorSpec(name=ref.layer, shape=_without_batch(graph.shape(ref)), dtype="float32")
        for ref in graph.outputs
    )


def heads(config: Config, compile_config: Config | None) -> tuple[Head, ...]:
    """How each output ends: its last activation, its width, and the loss it was compiled with.

    Args:
        config: the model's.
        compile_config: `model.get_compile_config()`, the "compile_config" of `config.json` or the
            `training_config` of `.h5`; None or empty where the model was never compiled.
    """
    graph = Graph.of(config)
    losses = compiled_losses((compile_config or {}).get("loss"), graph.outputs, graph.output_keys)
    ends = ends_of(graph, graph.outputs)
    return tuple(
        Head(
            output=ref.layer,
            shape=_without_batch(graph.shape(ref)),
            activation=end.activation,
            units=end.units,
            compiled_loss=loss,
        )
        for ref, end, loss in zip(graph.outputs, ends, losses, strict=True)
    )


def layers(config: Config) -> Iterator[Config]:
    """Every layer once. Nested models are walked into and not listed; a wrapper is one layer."""
    for layer in config["config"]["layers"]:
        if is_model(layer):
            yield from layers(layer)
        else:
            yield layer


def is_recurrent(config: Config) -> bool:
    """Whether a recurrent layer is anywhere in it: nested, wrapped or plain."""
    return any(_has_recurrence(layer) for layer in layers(config))


def _has_recurrence(layer: Config) -> bool:
    if layer["class_name"] in RECURRENT:
        return True
    if is_model(layer):
        return is_recurrent(layer)
    wrapped = (layer["config"].get(key) for key in WRAPPED)
    return any(_has_recurrence(inner) for inner in wrapped if isinstance(inner, dict))


def _without_batch(shape: Shape | None) -> Shape | None:
    return None if shape is None else shape[1:]
