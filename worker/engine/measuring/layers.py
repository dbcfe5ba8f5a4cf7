"""The per-layer table: what each layer holds, how it is stored, how far it moved."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import keras
import numpy as np
import numpy.typing as npt

from app.reports.report import LayerReport
from worker.engine.measuring.matching import find_kernel
from worker.engine.measuring.sizes import ParameterCounts, count_parameters
from worker.engine.measuring.tflite_file import Tensor, TfliteFile
from worker.engine.surgery.weights import leaves

FloatArray = npt.NDArray[np.float32]
FLOAT32_BITS = 32


class HoldsKernels(Protocol):
    """A file with constants among which kernels are found."""

    @property
    def weights(self) -> Iterable[Tensor]: ...


@dataclass(frozen=True)
class Stored:
    """A Keras model and the file it became; null for kinds that store the model itself."""

    model: keras.Model
    file: HoldsKernels | None

    def kernels_of(self, layer: keras.layers.Layer) -> list[FloatArray] | None:
        """The layer's kernels as they are stored; null if one cannot be found in the file."""
        wanted = kernels(layer)
        if self.file is None:
            return wanted
        tensors = self.tensors_of(layer)
        return [tensor.values for tensor in tensors] if len(tensors) == len(wanted) else None

    def tensors_of(self, layer: keras.layers.Layer) -> list[Tensor]:
        """The file's constants that hold the layer's kernels, as far as they can be found."""
        return self._found.get(id(layer), [])

    def counts_of(self, layer: keras.layers.Layer) -> ParameterCounts:
        """The layer's parameters; its zeros are those of the stored kernels, where found.

        Rounding to int8 makes zeros that the model does not have.
        """
        stored = self.kernels_of(layer)
        own = count_parameters(np.asarray(weight) for weight in layer.weights)
        if stored is None:
            return own
        zeros_made = count_parameters(kernels(layer)).nonzero_parameter_count - (
            count_parameters(stored).nonzero_parameter_count
        )
        return ParameterCounts(own.parameter_count, own.nonzero_parameter_count - zeros_made)

    def counts(self) -> ParameterCounts:
        """All layers together."""
        found = [self.counts_of(leaf.layer) for leaf in leaves(self.model)]
        return ParameterCounts(
            sum(one.parameter_count for one in found),
            sum(one.nonzero_parameter_count for one in found),
        )

    @cached_property
    def _found(self) -> dict[int, list[Tensor]]:
        if self.file is None:
            return {}
        found = {
            id(leaf.layer): [find_kernel(one, self.file.weights) for one in kernels(leaf.layer)]
            for leaf in leaves(self.model)
        }
        return {key: [one for one in row if one is not None] for key, row in found.items()}

    def bits_of(self, layer: keras.layers.Layer) -> int | None:
        """Bits of the layer's kernels; null where the file holds them in no form we can find."""
        if self.file is None:
            return FLOAT32_BITS
        return max((tensor.bits for tensor in self.tensors_of(layer)), default=None)


def leaf_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Layers of the model and of models nested in it, in order, each once."""
    found: dict[int, keras.layers.Layer] = {}
    for layer in model.layers:
        own = leaf_layers(layer) if isinstance(layer, keras.Model) else [layer]
        found.update((id(one), one) for one in own)
    return list(found.values())


def row_names(model: keras.Model) -> dict[int, str]:
    """Identity of a layer -> its name; the path to it where two models share one."""
    found = leaves(model)
    uses = Counter(leaf.layer.name for leaf in found)
    return {
        id(leaf.layer): leaf.layer.name if uses[leaf.layer.name] == 1 else leaf.name
        for leaf in found
    }


def kernels(layer: keras.layers.Layer) -> list[FloatArray]:
    """Weights that are multiplied with; a GRU's bias has two axes too."""
    return [
        np.asarray(weight)
        for weight in layer.weights
        if len(weight.shape) > 1 and "bias" not in weight.name
    ]


def layer_table(
    baseline: Stored, optimized: Stored, macs: Mapping[str, int | None]
) -> tuple[LayerReport, ...]:
    """One row for every layer of the optimized model that has weights.

    `weight_error` compares stored with stored weights, so a BatchNormalization that the converter
    folded into both does not count as an error.
    """
    before = {leaf.name: leaf.layer for leaf in leaves(baseline.model)}
    names = row_names(optimized.model)
    rows: list[LayerReport] = []
    for leaf in leaves(optimized.model):
        layer, name = leaf.layer, names[id(leaf.layer)]
        if not layer.weights:
            continue
        counts = optimized.counts_of(layer)
        old = baseline.kernels_of(before[leaf.name]) if leaf.name in before else None
        rows.append(
            LayerReport(
                name=name,
                class_name=type(layer).__name__,
                output_shape=_output_shape(layer),
                parameter_count=counts.parameter_count,
                nonzero_parameter_count=counts.nonzero_parameter_count,
                sparsity=_sparsity(counts),
                bits=optimized.bits_of(layer),
                macs=macs.get(name),
                weight_error=relative_distance(old, optimized.kernels_of(layer)),
            )
        )
    return tuple(rows)


def tflite_layer_table(
    baseline: TfliteFile, optimized: TfliteFile, macs: Mapping[str, int | None]
) -> tuple[LayerReport, ...]:
    """One row for every operator with weights: what an uploaded tflite file has for layers."""
    before = {tensor.name: tensor for tensor in baseline.weights}
    rows: list[LayerReport] = []
    for operator in optimized.operators:
        weights = optimized.weights_of(operator)
        kernel = largest_kernel(weights)
        if kernel is None:
            continue
        old = before.get(kernel.name)
        counts = count_parameters(tensor.values for tensor in weights)
        rows.append(
            LayerReport(
                name=operator.outputs[0].name,
                class_name=operator.name,
                output_shape=operator.outputs[0].shape[1:],
                parameter_count=counts.parameter_count,
                nonzero_parameter_count=counts.nonzero_parameter_count,
                sparsity=_sparsity(counts),
                bits=kernel.bits,
                macs=macs.get(operator.outputs[0].name),
                weight_error=relative_distance([old.values], [kernel.values]) if old else None,
            )
        )
    return tuple(rows)


def largest_kernel(weights: Sequence[Tensor]) -> Tensor | None:
    """The largest one with at least two axes; null if none has."""
    candidates = [tensor for tensor in weights if len(tensor.shape) > 1]
    return max(candidates, key=lambda tensor: tensor.size, default=None)


def relative_distance(
    before: Sequence[FloatArray] | None, after: Sequence[FloatArray] | None
) -> float | None:
    """`|after - before| / |before|` over all arrays together; null if they cannot be compared."""
    if not before or not after or [a.shape for a in before] != [a.shape for a in after]:
        return None
    moved = sum(float(np.square(b - a).sum()) for a, b in zip(before, after, strict=True))
    length = sum(float(np.square(a).sum()) for a in before)
    return float(np.sqrt(moved / length)) if length > 0 else None


def _sparsity(counts: ParameterCounts) -> float:
    if counts.parameter_count == 0:
        return 0.0
    return 1 - counts.nonzero_parameter_count / counts.parameter_count


def _output_shape(layer: keras.layers.Layer) -> tuple[int | None, ...] | None:
    """Without the batch axis; null for a layer whose uses differ in it."""
    shapes = {tuple(node.outputs[0].shape[1:]) for node in layer._inbound_nodes}
    return shapes.pop() if len(shapes) == 1 else None
