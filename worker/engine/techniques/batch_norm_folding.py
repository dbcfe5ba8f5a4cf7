"""Batch-norm folding: each normalization becomes part of the layer before it."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from app.recipes.keras.graph import Graph, layer_name
from app.recipes.steps.batch_norm_folding import BatchNormFolding
from app.reports.report import SkippedLayer
from worker.engine.context import StepContext, StepOutcome
from worker.engine.surgery.bypass import Config, without_layers
from worker.engine.surgery.weights import Leaf, assign_weights, named_weights

FloatArray = NDArray[np.floating[Any]]

# Layers that end in a sum over inputs, with the attribute that holds the last kernel.
_KERNEL: Mapping[type[keras.Layer], str] = {
    keras.layers.Dense: "kernel",
    keras.layers.Conv1D: "kernel",
    keras.layers.Conv2D: "kernel",
    keras.layers.Conv3D: "kernel",
    keras.layers.DepthwiseConv1D: "kernel",
    keras.layers.DepthwiseConv2D: "kernel",
    keras.layers.SeparableConv1D: "pointwise_kernel",
    keras.layers.SeparableConv2D: "pointwise_kernel",
    keras.layers.Conv1DTranspose: "kernel",
    keras.layers.Conv2DTranspose: "kernel",
    keras.layers.Conv3DTranspose: "kernel",
}
_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
_TRANSPOSED = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)

FOLDED = "a normalization was folded into it since; its uploaded weights would lack that"


def apply(step: BatchNormFolding, model: keras.Model, context: StepContext) -> StepOutcome:
    """A copy without the normalizations that could be folded; what it computes is the same."""
    return folded(model, tuple(plan(model, step.selects)), context)


def folded(
    model: keras.Model, found: "Sequence[Fold | SkippedLayer]", context: StepContext
) -> StepOutcome:
    """A copy with these folds made."""
    context.check_cancelled()
    folds = tuple(item for item in found if isinstance(item, Fold))
    bypassed = {fold.norm.name: fold.producer.name for fold in folds}
    with_bias = {fold.producer.name for fold in folds}
    config = without_layers(_with_bias(model.get_config(), with_bias), bypassed)
    new = type(model).from_config(config)
    values = {name: weight.numpy() for name, weight in named_weights(model).items()}
    changed = {name: value for fold in folds for name, value in fold.new_weights().items()}
    values.update(changed)
    assign_weights(new, {name: values[name] for name in named_weights(new)})
    context.report_progress(1.0, f"{len(folds)} normalizations folded")
    return StepOutcome(
        model=new,
        masks=context.masks,
        lineage=context.lineage.with_foreign(changed, FOLDED),
        facts={"folded": [fold.norm.name for fold in folds]},
        skipped=tuple(item for item in found if isinstance(item, SkippedLayer)),
    )


@dataclass(frozen=True)
class Norm:
    """A normalization at inference, each [channels]: (x - mean) * factor + beta."""

    mean: FloatArray
    factor: FloatArray
    beta: FloatArray

    @classmethod
    def of(cls, layer: keras.layers.BatchNormalization) -> "Norm":
        mean = layer.moving_mean.numpy().astype(np.float64)
        variance = layer.moving_variance.numpy().astype(np.float64)
        gamma = layer.gamma.numpy() if layer.scale else np.ones_like(mean)
        beta = layer.beta.numpy() if layer.center else np.zeros_like(mean)
        return cls(mean, gamma / np.sqrt(variance + layer.epsilon), beta.astype(np.float64))


@dataclass(frozen=True)
class Fold:
    """One normalization and the layer it is folded into."""

    producer: Leaf
    norm: Leaf

    def new_weights(self) -> dict[str, FloatArray]:
        """Kernel and bias of the producer, by stable name (Jacob et al. 2018, section 3.2)."""
        layer, norm = self.producer.layer, Norm.of(self.norm.layer)
        variable = getattr(layer, _KERNEL[type(layer)])
        kernel = variable.numpy().astype(np.float64)
        bias = layer.bias.numpy().astype(np.float64) if layer.use_bias else np.zeros(())
        names = {id(weight): name for name, weight in self.producer.weights().items()}
        # + 0.0: a negative factor makes -0.0 of a pruned weight, a different byte.
        return {
            names[id(variable)]: kernel * factor_for(layer, kernel.shape, norm.factor) + 0.0,
            f"{self.producer.name}/bias": (bias - norm.mean) * norm.factor + norm.beta,
        }


def factor_for(layer: keras.Layer, shape: tuple[int, ...], factor: FloatArray) -> FloatArray:
    """factor, [channels], laid along the output axes of a kernel of this shape.

    Depthwise kernels are [..., in, multiplier] with output channel in * multiplier + m; transposed
    convolutions [..., out, in]; all others [..., out].
    """
    if isinstance(layer, _DEPTHWISE):
        return factor.reshape(shape[-2:])
    return factor[:, np.newaxis] if isinstance(layer, _TRANSPOSED) else factor


def plan(model: keras.Model, selects: Callable[[str], bool]) -> Iterator[Fold | SkippedLayer]:
    """Every BatchNormalization of the model: how it is folded, or why it is not.

    selects: whether one of this name is to be folded at all.
    """
    owners = Counter(id(layer) for owner in _levels(model, "") for layer in owner.model.layers)
    for level in _levels(model, ""):
        for layer in level.model.layers:
            if not isinstance(layer, keras.layers.BatchNormalization):
                continue
            reason = (
                _obstacle(level, layer, owners)
                if selects(layer.name)
                else "not chosen by the recipe"
            )
            if reason:
                yield SkippedLayer(layer=layer.name, reason=reason)
            else:
                producer = level.model.get_layer(level.feeding(layer.name))
                yield Fold(level.leaf(producer), level.leaf(layer))


@dataclass(frozen=True)
class Level:
    """A model or a nested one, with its graph; `path` leads to it."""

    model: keras.Model
    path: str
    graph: Graph

    def leaf(self, layer: keras.Layer) -> Leaf:
        return Leaf(f"{self.path}{layer.name}", layer)

    def calls(self, name: str) -> int:
        return sum(1 for layer, _ in self.graph.calls if layer == name)

    def feeding(self, name: str) -> str:
        """The layer whose output goes into this one, which has one input."""
        return next(refs[0].layer for (layer, _), refs in self.graph.calls.items() if layer == name)

    def readers(self, name: str) -> int:
        """How often a layer's output is read, by layers or as an output of this level."""
        reads = chain(self.graph.outputs, *self.graph.calls.values())
        return sum(1 for ref in reads if ref.layer == name)


def _levels(model: keras.Model, path: str) -> Iterator[Level]:
    kind = "Sequential" if isinstance(model, keras.Sequential) else "Functional"
    config = {"class_name": kind, "config": model.get_config()}
    yield Level(model, path, Graph.of(config))
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _levels(layer, f"{path}{layer.name}/")


def _obstacle(
    level: Level, norm: keras.layers.BatchNormalization, owners: Mapping[int, int]
) -> str | None:
    """What keeps this normalization from being folded; None = nothing."""
    if level.calls(norm.name) != 1 or owners[id(norm)] > 1:
        return "it is shared: used more than once"
    if not level.path and any(ref.layer == norm.name for ref in level.graph.outputs):
        return "it is an output of the model, whose name would change"
    before = level.feeding(norm.name)
    producer = next((layer for layer in level.model.layers if layer.name == before), None)
    kind = type(producer).__name__
    if producer is None or isinstance(producer, keras.layers.InputLayer):
        return "no layer comes before it"
    if type(producer) not in _KERNEL:
        return f"the layer before it, {before!r}, is a {kind}: there is no kernel to fold it into"
    if level.calls(before) != 1 or owners[id(producer)] > 1:
        return f"the layer before it, {before!r}, is shared: used more than once"
    if level.readers(before) != 1:
        return f"the output of {before!r} is also read elsewhere"
    if producer.activation is not keras.activations.linear:
        name = keras.activations.serialize(producer.activation)
        return f"{before!r} applies {name} before it"
    return _mismatch(producer, norm)


def _mismatch(producer: keras.Layer, norm: keras.layers.BatchNormalization) -> str | None:
    if getattr(producer, "data_format", "channels_last") != "channels_last":
        return f"{producer.name!r} keeps channels first"
    if norm.axis not in (-1, norm.input_spec.ndim - 1):
        return f"it normalizes axis {norm.axis}, not the channels of {producer.name!r}"
    return None


def _with_bias(config: Config, producers: set[str], level: str = "") -> Config:
    """The configuration in which these layers, by path, have a bias."""
    layers = []
    for layer in config["layers"]:
        path = f"{level}{layer_name(layer)}"
        inner = layer["config"]
        if "layers" in inner:
            inner = _with_bias(inner, producers, f"{path}/")
        elif path in producers:
            inner = {**inner, "use_bias": True}
        layers.append({**layer, "config": inner})
    return {**config, "layers": layers}
