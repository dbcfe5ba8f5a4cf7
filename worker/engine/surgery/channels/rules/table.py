"""Which rule reads which kind of layer. By its exact class: a child may do something else."""

from collections.abc import Mapping
from dataclasses import replace

import keras
from keras.src.applications import convnext

from worker.engine.surgery.channels.calls import Axes, Call, Tensor, without
from worker.engine.surgery.channels.ledger import Ledger
from worker.engine.surgery.channels.rules import (
    activations,
    attention,
    einsum,
    kernels,
    merges,
    normalizations,
    operations,
    recurrent,
    shapes,
)
from worker.engine.surgery.channels.rules.operations import Rule

layers = keras.layers


def time_distributed(ledger: Ledger, call: Call) -> list[Axes]:
    """The layer inside sees every step alone: axis 1 is not there for it."""
    if isinstance(call.layer.layer, keras.Model):
        return ledger.refuse(call, "it distributes a whole model")
    ledger.only(call, call.given, set(range(2, call.given.rank)), "it takes them for steps")
    step = Tensor(
        (call.given.shape[0], *call.given.shape[2:]),
        {axis - 1: ids for axis, ids in without(call.given.ids, 1).items()},
    )
    inner = replace(
        call,
        layer=call.layer.layer,
        inputs=(step,),
        arguments=(step,),
        keywords={},
        shapes=tuple((shape[0], *shape[2:]) for shape in call.shapes),
        keys=(*call.keys, "layer", "config"),
    )
    return [{axis + 1: ids for axis, ids in axes.items()} for axes in outputs_of(ledger, inner)]


_SAME = (
    layers.ActivityRegularization,
    layers.ELU,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.Identity,
    layers.LeakyReLU,
    layers.ReLU,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
)
_SPATIAL = (
    layers.AveragePooling1D,
    layers.AveragePooling2D,
    layers.AveragePooling3D,
    layers.Cropping1D,
    layers.Cropping2D,
    layers.Cropping3D,
    layers.MaxPooling1D,
    layers.MaxPooling2D,
    layers.MaxPooling3D,
    layers.UpSampling1D,
    layers.UpSampling2D,
    layers.UpSampling3D,
    layers.ZeroPadding1D,
    layers.ZeroPadding2D,
    layers.ZeroPadding3D,
    layers.AdaptiveAveragePooling1D,
    layers.AdaptiveAveragePooling2D,
    layers.AdaptiveAveragePooling3D,
    layers.AdaptiveMaxPooling1D,
    layers.AdaptiveMaxPooling2D,
    layers.AdaptiveMaxPooling3D,
)
_GLOBAL = (
    layers.GlobalAveragePooling1D,
    layers.GlobalAveragePooling2D,
    layers.GlobalAveragePooling3D,
    layers.GlobalMaxPooling1D,
    layers.GlobalMaxPooling2D,
    layers.GlobalMaxPooling3D,
)
_MERGES = (
    layers.Add,
    layers.Average,
    layers.Maximum,
    layers.Minimum,
    layers.Multiply,
    layers.Subtract,
)

RULES: Mapping[type, Rule] = {
    **dict.fromkeys(_SAME, shapes.same),
    **dict.fromkeys(_SPATIAL, shapes.spatial),
    **dict.fromkeys(_GLOBAL, shapes.global_pooling),
    **dict.fromkeys(_MERGES, merges.merge),
    layers.AlphaDropout: shapes.dropout,
    layers.Dropout: shapes.dropout,
    layers.Flatten: shapes.flatten,
    layers.Masking: shapes.masking,
    layers.Permute: shapes.permute,
    layers.RepeatVector: shapes.repeat_vector,
    layers.Reshape: shapes.reshape,
    layers.Concatenate: merges.concatenate,
    layers.Activation: activations.activation,
    layers.PReLU: activations.prelu,
    layers.Softmax: activations.softmax,
    layers.BatchNormalization: normalizations.batch_normalization,
    layers.GroupNormalization: normalizations.group_normalization,
    layers.LayerNormalization: normalizations.layer_normalization,
    layers.Normalization: normalizations.normalization,
    layers.RMSNormalization: normalizations.layer_normalization,
    layers.Rescaling: normalizations.rescaling,
    layers.UnitNormalization: normalizations.unit_normalization,
    layers.Dense: kernels.dense,
    layers.EinsumDense: einsum.einsum_dense,
    layers.Embedding: kernels.embedding,
    **dict.fromkeys((layers.Conv1D, layers.Conv2D, layers.Conv3D), kernels.convolution),
    layers.Conv1DTranspose: kernels.transposed,
    layers.Conv2DTranspose: kernels.transposed,
    layers.Conv3DTranspose: kernels.transposed,
    layers.DepthwiseConv1D: kernels.depthwise,
    layers.DepthwiseConv2D: kernels.depthwise,
    layers.SeparableConv1D: kernels.separable,
    layers.SeparableConv2D: kernels.separable,
    **dict.fromkeys((layers.LSTM, layers.GRU, layers.SimpleRNN), recurrent.recurrent),
    layers.Bidirectional: recurrent.bidirectional,
    layers.MultiHeadAttention: attention.multi_head,
    layers.GroupQueryAttention: attention.grouped_query,
    layers.TimeDistributed: time_distributed,
    convnext.LayerScale: normalizations.layer_scale,
    convnext.StochasticDepth: shapes.same,
}

# What rules read, if more than the first argument: so many arguments, and those of these names.
_READ: Mapping[Rule, tuple[int, frozenset[str]]] = {
    attention.multi_head: (3, attention.READ),
    attention.grouped_query: (3, attention.READ),
    recurrent.recurrent: (2, recurrent.READ),
    recurrent.bidirectional: (2, recurrent.READ),
}
# They ask for their arguments by name; the first tensor of a call need not be what others read.
_NAMED = (attention.multi_head, attention.grouped_query)
_ALL_READ = frozenset(
    {merges.merge, merges.concatenate, operations.element_wise, operations.concatenate}
)


def outputs_of(ledger: Ledger, call: Call) -> list[Axes]:
    """The channels of each output of a call; the ledger hears what belongs to them."""
    rule = _rule(call)
    if rule is None:
        return ledger.refuse(call, f"there is no rule for {type(call.layer).__name__}")
    if getattr(call.layer, "data_format", None) == "channels_first":
        return ledger.refuse(call, "it keeps channels first")
    if rule in _ALL_READ:
        return rule(ledger, call)
    count, names = _READ.get(rule, (1, frozenset()))
    if len(call.inputs) > 1 and not call.arguments and rule not in _NAMED:
        return ledger.refuse(call, "all its tensors are given by name")
    ledger.pass_over(call, count, names)
    return rule(ledger, call)


def _rule(call: Call) -> Rule | None:
    kind = type(call.layer)
    if isinstance(call.layer, keras.Layer):
        return RULES.get(kind)
    known = kind.__module__.startswith("keras.src.ops")
    return operations.OPERATIONS.get(kind.__name__) if known else None
