"""Which weights of a model are quantized."""

from collections.abc import Iterator

import keras
import numpy as np

from app.recipes.steps.weight_quantization import WeightQuantization
from app.reports.report import SkippedLayer
from worker.engine.surgery.kernels import Kernel, NoKernel, kernels
from worker.engine.surgery.weights import leaves


def chosen_kernels(
    step: WeightQuantization, model: keras.Model
) -> tuple[tuple[Kernel, ...], tuple[SkippedLayer, ...]]:
    """Kernels and embedding tables in the model's order, and the layers that are left out."""
    chosen: list[Kernel] = []
    skipped: dict[str, str] = {}
    for found in (*_tables(model), *kernels(model)):
        if isinstance(found, NoKernel) and _is_table(model, found.layer_name):
            continue
        if not step.selects(found.layer_name):
            skipped[found.layer_name] = "not chosen by the recipe"
        elif isinstance(found, NoKernel):
            skipped[found.layer_name] = found.reason
        elif not np.issubdtype(np.dtype(found.variable.dtype), np.floating):
            skipped[found.layer_name] = f"its kernel is stored as {found.variable.dtype}"
        else:
            chosen.append(found)
    return tuple(chosen), tuple(
        SkippedLayer(layer=name, reason=why) for name, why in skipped.items()
    )


def _tables(model: keras.Model) -> Iterator[Kernel]:
    """An embedding is a product with a row of zeros and one 1: its table is a kernel [in, out]."""
    for leaf in leaves(model):
        if type(leaf.layer) is keras.layers.Embedding:
            name = next(iter(leaf.weights()))
            yield Kernel(name, leaf.layer.name, leaf.layer.embeddings, (0,))


def _is_table(model: keras.Model, layer_name: str) -> bool:
    return any(
        leaf.layer.name == layer_name and type(leaf.layer) is keras.layers.Embedding
        for leaf in leaves(model)
    )
