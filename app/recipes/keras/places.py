"""Where Keras keeps the operations of `keras.ops`, and puts back what a .h5 file leaves out of it.

Keras 3 writes a layer and an operation into a .h5 file by the name of its class alone, and reads it
back from `keras.layers`, where no operation is. A closed list of names tells the module of each.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from app.recipes.keras.graph import MODELS


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


NUMPY_OPERATIONS = _words("""
    Abs Absolute Add All AllClose Amax Amin Angle Any Append Arange Arccos Arccosh Arcsin
    Arcsinh Arctan Arctan2 Arctanh Argmax Argmin Argpartition Argsort Array ArraySplit Average
    Bincount BitwiseAnd BitwiseInvert BitwiseLeftShift BitwiseNot BitwiseOr BitwiseRightShift
    BitwiseXor BroadcastTo Cbrt Ceil Clip Concatenate Conj Conjugate Copy Corrcoef Correlate Cos
    Cosh CountNonzero Cross Cumprod Cumsum Deg2rad Diag Diagflat Diagonal Diff Digitize Divide
    DivideNoNan Dot Dsplit Dstack Einsum EmptyLike Equal Exp Exp2 ExpandDims Expm1 Fabs Flip
    Fliplr Flipud Floor FloorDivide Fmax Fmin Fmod Full FullLike Gcd Geomspace GetItem Greater
    GreaterEqual Heaviside Histogram Hsplit Hstack Hypot I0 Imag Inner IsIn Isclose Isfinite
    Isinf Isnan Isneginf Isposinf Isreal Kron Lcm Ldexp LeftShift Less LessEqual Linspace Log
    Log10 Log1p Log2 Logaddexp Logaddexp2 LogicalAnd LogicalNot LogicalOr LogicalXor Logspace
    Matmul Max Maximum Mean Median Meshgrid Min Minimum Mod Moveaxis Multiply NanToNum Nanargmax
    Nanargmin Nancumprod Nancumsum Nanmax Nanmean Nanmedian Nanmin Nanpercentile Nanprod
    Nanquantile Nanstd Nansum Nanvar Ndim Negative Nextafter Nonzero NotEqual OnesLike Outer Pad
    Percentile Power Prod Ptp Quantile Rad2deg Ravel Real Reciprocal Repeat Reshape RightShift
    Roll Rot90 Round SearchSorted Select Sign Signbit Sin Sinc Sinh Size Slogdet Sort Split Sqrt
    Square Squeeze Stack Std Subtract Sum Swapaxes Take TakeAlongAxis Tan Tanh Tensordot Tile
    Trace Transpose Trapezoid Tril Triu TrueDivide Trunc Unique UnravelIndex Vander Var Vdot
    View Vsplit Vstack Where ZerosLike
""")
NN_OPERATIONS = _words("""
    AveragePool BatchNorm BinaryCrossentropy CTCDecode
    CTCLoss CategoricalCrossentropy Celu Conv ConvTranspose DepthToSpace DepthwiseConv
    DotProductAttention Elu Fold Gelu Glu HardShrink HardSigmoid HardSilu HardTanh LayerNorm
    LeakyRelu LogSigmoid LogSoftmax MaxPool Moments MultiHot Normalize OneHot PSNR Polar RMSNorm
    Relu Relu6 Selu SeparableConv Sigmoid Silu SoftShrink Softmax Softplus Softsign SpaceToDepth
    SparseCategoricalCrossentropy SparsePlus SparseSigmoid Sparsemax Squareplus TanhShrink
    Threshold Unfold
""")
MATH_OPERATIONS = _words("""
    CDist Erf Erfc Erfinv ExtractSequences FFT FFT2 IFFT2 IRFFT ISTFT InTopK Logdet Logsumexp
    RFFT Rsqrt STFT SegmentMax SegmentMin SegmentProd SegmentSum TopK ViewAsComplex ViewAsReal
""")
LINALG_OPERATIONS = _words("""
    Cholesky CholeskyInverse Det Eig Eigh Inv Lstsq LuFactor MatrixRank Norm Pinv Qr SVD Solve
    SolveTriangular
""")
IMAGE_OPERATIONS = _words("""
    AffineTransform CropImages ElasticTransform ExtractPatches GaussianBlur HSVToRGB
    MapCoordinates PadImages PerspectiveTransform RGBToGrayscale RGBToHSV Resize SSIM
    ScaleAndTranslate SobelEdges
""")
CORE_OPERATIONS = _words("""
    Cast ConvertToTensor SaturateCast Scatter ScatterUpdate Slice SliceUpdate StopGradient
    Unstack
""")
EINOPS_OPERATIONS = _words("""
    Rearrange
""")
ACTIVATION_OPERATIONS = _words("Mish ReLU")
# Rounds to a range that is written beside it.
QUANTIZER_OPERATIONS = _words("FakeQuantWithMinMaxVars")

OPERATIONS: Mapping[str, frozenset[str]] = {
    "keras.src.activations.activations": ACTIVATION_OPERATIONS,
    "keras.src.ops.core": CORE_OPERATIONS,
    "keras.src.ops.einops": EINOPS_OPERATIONS,
    "keras.src.ops.image": IMAGE_OPERATIONS,
    "keras.src.ops.linalg": LINALG_OPERATIONS,
    "keras.src.ops.math": MATH_OPERATIONS,
    "keras.src.ops.nn": NN_OPERATIONS,
    "keras.src.ops.numpy": NUMPY_OPERATIONS,
    "keras.src.quantizers.quantizers": QUANTIZER_OPERATIONS,
}
# Layers that networks of keras.applications have to themselves, each with the settings it has.
# An author's own class may be called alike, so in a .h5 file the settings must agree as well.
LAYERS_OF_NETWORKS: Mapping[str, Mapping[str, frozenset[str]]] = {
    "keras.src.applications.convnext": {
        "LayerScale": _words("init_values projection_dim"),
        "StochasticDepth": _words("drop_path_rate"),
    },
    "keras.src.applications.inception_resnet_v2": {"CustomScaleLayer": _words("scale")},
}
PLACES: Mapping[str, frozenset[str]] = {
    **OPERATIONS,
    **{module: frozenset(layers) for module, layers in LAYERS_OF_NETWORKS.items()},
}
_OPERATION_PLACES = {name: module for module, names in OPERATIONS.items() for name in names}
_LAYER_PLACES = {
    name: (module, own)
    for module, layers in LAYERS_OF_NETWORKS.items()
    for name, own in layers.items()
}
_OF_EVERY_LAYER = _words("name trainable dtype")


def put_back(config: Any) -> None:
    """Write the module into each operation of a .h5 file's model, at any depth, in place.

    The config may be a stranger's: what is not in the form that Keras writes stays as it is.
    """
    for layer in layers_of_all_models(config):
        if "module" not in layer and (module := _place(layer)):
            layer["module"] = module


def layers_of_all_models(config: Any) -> Iterator[dict[str, Any]]:
    """Every layer of every model; without recursion, since no one has looked at the depth yet."""
    pending = [config]
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending.extend(value)
        elif isinstance(value, dict):
            pending.extend(value.values())
            yield from _layers_of_model(value)


def _layers_of_model(value: dict[str, Any]) -> Iterator[dict[str, Any]]:
    body = value.get("config")
    if not isinstance(value.get("class_name"), str) or value["class_name"] not in MODELS:
        return
    listed = body.get("layers") if isinstance(body, dict) else None
    yield from (each for each in listed or () if isinstance(each, dict))


def _place(layer: Mapping[str, Any]) -> str | None:
    name, config = layer.get("class_name"), layer.get("config")
    if not isinstance(name, str) or not isinstance(config, dict):
        return None
    if name in _LAYER_PLACES:
        module, own = _LAYER_PLACES[name]
        return module if config.keys() == own | _OF_EVERY_LAYER else None
    # Some layers and operations are called alike; every layer, and no operation, has `trainable`.
    return None if "trainable" in config else _OPERATION_PLACES.get(name)
