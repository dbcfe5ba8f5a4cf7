"""The channel graph of a Keras model."""

import keras

from app.errors import StepFailed
from worker.engine.surgery.channels.groups import ChannelGraph, grouped
from worker.engine.surgery.channels.walk import walk


def channel_graph(model: keras.Model) -> ChannelGraph:
    """Which channels of a Functional or Sequential model can be taken out, and what goes with them.

    Time grows linearly with layers and channels.
    Raises: StepFailed if the model has no graph.
    """
    if not getattr(model, "inputs", None):
        raise StepFailed(
            f"the model, a {type(model).__name__}, has no graph of layers: it was never built, or "
            "it is neither Functional nor Sequential",
            hint="Give a Sequential model a keras.Input, or build it with keras.Model(inputs, "
            "outputs).",
        )
    return grouped(walk(model))
