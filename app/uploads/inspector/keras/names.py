"""The names a Keras file may hold: closed lists, each name under the module that Keras writes.

Loading makes Keras look up whatever a file names, so a name is on a list or the file is refused.
What is missing is missing for a reason: a layer or operation that calls a function named beside it
(Lambda, Map, Cond, JVP, ...), that loads another file (TFSMLayer), or that is a base to build upon.
A test holds the lists against the Keras installed: a name that a new version adds fails it.
"""

from app.recipes.keras.places import PLACES


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


LAYERS = _words("""
    Activation ActivityRegularization AdaptiveAveragePooling1D AdaptiveAveragePooling2D
    AdaptiveAveragePooling3D AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D Add
    AdditiveAttention AlphaDropout Attention AugMix AutoContrast Average AveragePooling1D
    AveragePooling2D AveragePooling3D BatchNormalization Bidirectional CategoryEncoding
    CenterCrop Concatenate ContrastLimitedAdaptiveHistogramEqualization Conv1D Conv1DTranspose
    Conv2D Conv2DTranspose Conv3D Conv3DTranspose ConvLSTM1D ConvLSTM2D ConvLSTM3D Cropping1D
    Cropping2D Cropping3D CutMix Dense DepthwiseConv1D DepthwiseConv2D Discretization Dot
    Dropout ELU EinsumDense Embedding Equalization Flatten GRU GRUCell GaussianDropout
    GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D
    GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D GroupNormalization
    GroupQueryAttention HashedCrossing Hashing Identity InputLayer IntegerLookup LSTM LSTMCell
    LayerNormalization LeakyReLU Masking MaxNumBoundingBoxes MaxPooling1D MaxPooling2D
    MaxPooling3D Maximum MelSpectrogram Minimum MixUp MultiHeadAttention Multiply Normalization
    PReLU Permute Pipeline RMSNormalization RNN RandAugment RandomBrightness
    RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop RandomElasticTransform
    RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale RandomHue RandomInvert
    RandomPerspective RandomPosterization RandomRotation RandomSaturation RandomSharpness
    RandomShear RandomTranslation RandomZoom ReLU RepeatVector Rescaling Reshape Resizing
    ReversibleEmbedding STFTSpectrogram SeparableConv1D SeparableConv2D SimpleRNN SimpleRNNCell
    Softmax Solarization SpatialDropout1D SpatialDropout2D SpatialDropout3D
    SpectralNormalization StackedRNNCells StringLookup Subtract TextVectorization
    TimeDistributed UnitNormalization UpSampling1D UpSampling2D UpSampling3D ZeroPadding1D
    ZeroPadding2D ZeroPadding3D
""")
MODELS = _words("Functional Model Sequential")
# Those that Keras finds under its public name: it has no `keras.models.Functional`.
PUBLIC_MODELS = _words("Model Sequential")
INITIALIZERS = _words("""
    Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity LecunNormal LecunUniform
    Ones Orthogonal RandomNormal RandomUniform STFT TruncatedNormal VarianceScaling Zeros
""")
# As earlier versions of Keras 3 called theirs.
EARLIER_INITIALIZERS = _words("IdentityInitializer OrthogonalInitializer STFTInitializer")
POLICIES = _words("""
    AWQDTypePolicy DTypePolicy DTypePolicyMap FloatDTypePolicy GPTQDTypePolicy Int4DTypePolicy
    QuantizedDTypePolicy QuantizedFloat8DTypePolicy
""")
LOSSES = _words("""
    BinaryCrossentropy BinaryFocalCrossentropy CTC CategoricalCrossentropy
    CategoricalFocalCrossentropy CategoricalGeneralizedCrossEntropy CategoricalHinge Circle
    CosineSimilarity Dice Hinge Huber KLDivergence LogCosh MeanAbsoluteError
    MeanAbsolutePercentageError MeanSquaredError MeanSquaredLogarithmicError Poisson
    SparseCategoricalCrossentropy SquaredHinge Tversky
""")
METRICS = _words("""
    AUC Accuracy BinaryAccuracy BinaryCrossentropy BinaryIoU CategoricalAccuracy
    CategoricalCrossentropy CategoricalHinge ConcordanceCorrelation CosineSimilarity F1Score
    FBetaScore FalseNegatives FalsePositives Hinge IoU KLDivergence LogCoshError Mean
    MeanAbsoluteError MeanAbsolutePercentageError MeanIoU MeanMetricWrapper MeanSquaredError
    MeanSquaredLogarithmicError OneHotIoU OneHotMeanIoU PearsonCorrelation Poisson Precision
    PrecisionAtRecall R2Score Recall RecallAtPrecision RootMeanSquaredError
    SensitivityAtSpecificity SparseCategoricalAccuracy SparseCategoricalCrossentropy
    SparseTopKCategoricalAccuracy SpecificityAtSensitivity SquaredHinge Sum
    TopKCategoricalAccuracy TrueNegatives TruePositives
""")
OPTIMIZERS = _words("""
    Adadelta Adafactor Adagrad Adam AdamW Adamax Ftrl Lamb Lion LossScaleOptimizer
    MultiOptimizer Muon Nadam OptimizerMap RMSprop SGD ScheduleFreeAdamW
""")
SCHEDULES = _words("""
    CosineDecay CosineDecayRestarts ExponentialDecay InverseTimeDecay PiecewiseConstantDecay
    PolynomialDecay
""")
CONSTRAINTS = _words("""
    MaxNorm MinMaxNorm NonNeg UnitNorm
""")
REGULARIZERS = _words("""
    L1 L1L2 L2 OrthogonalRegularizer
""")
QUANTIZERS = _words("""
    AWQConfig AbsMaxQuantizer Float8QuantizationConfig GPTQConfig Int4QuantizationConfig
    Int8QuantizationConfig
""")
ACTIVATIONS = _words("""
    celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh
    leaky_relu linear log_sigmoid log_softmax mish relu relu6 selu sigmoid silu soft_shrink
    softmax softplus softsign sparse_plus sparse_sigmoid sparsemax squareplus swish tanh
    tanh_shrink threshold
""")
LOSS_FUNCTIONS = _words("""
    binary_crossentropy binary_focal_crossentropy categorical_crossentropy
    categorical_focal_crossentropy categorical_generalized_cross_entropy categorical_hinge
    circle cosine_similarity ctc dice hinge huber kl_divergence log_cosh mean_absolute_error
    mean_absolute_percentage_error mean_squared_error mean_squared_logarithmic_error poisson
    sparse_categorical_crossentropy squared_hinge tversky
""")
METRIC_FUNCTIONS = _words("""
    binary_accuracy binary_crossentropy binary_focal_crossentropy categorical_accuracy
    categorical_crossentropy categorical_focal_crossentropy categorical_hinge
    concordance_correlation hinge huber kl_divergence log_cosh mean_absolute_error
    mean_absolute_percentage_error mean_squared_error mean_squared_logarithmic_error
    pearson_correlation poisson sparse_categorical_accuracy sparse_categorical_crossentropy
    sparse_top_k_categorical_accuracy squared_hinge top_k_categorical_accuracy
""")
CLASSES: dict[str, frozenset[str]] = {
    "keras": PUBLIC_MODELS | POLICIES,
    "keras.models": PUBLIC_MODELS,
    "keras.src.models.functional": _words("Functional"),
    "keras.src.models.sequential": _words("Sequential"),
    "keras.layers": LAYERS,
    "keras.constraints": CONSTRAINTS,
    "keras.dtype_policies": POLICIES,
    "keras.initializers": INITIALIZERS | EARLIER_INITIALIZERS,
    "keras.losses": LOSSES,
    "keras.metrics": METRICS,
    "keras.optimizers": OPTIMIZERS,
    "keras.optimizers.schedules": SCHEDULES,
    "keras.quantizers": QUANTIZERS,
    "keras.random": _words("SeedGenerator"),
    "keras.regularizers": REGULARIZERS,
    **PLACES,
}
LAYER_MODULES = ("keras.layers", "keras.src.applications.")
# As .h5 files have them: under the name of the class alone. Two are Keras 2's.
UNPLACED_LAYERS = LAYERS | MODELS | {"GroupedQueryAttention"}
UNPLACED = frozenset({"LossFunctionWrapper", "Policy"}).union(
    *(UNPLACED_LAYERS, POLICIES, INITIALIZERS, EARLIER_INITIALIZERS, CONSTRAINTS, REGULARIZERS),
    *(LOSSES, METRICS, OPTIMIZERS, SCHEDULES),
)
FUNCTIONS: dict[str, frozenset[str]] = {
    "builtins": ACTIVATIONS | LOSS_FUNCTIONS | METRIC_FUNCTIONS,
    "keras.activations": ACTIVATIONS,
    "keras.losses": LOSS_FUNCTIONS,
    "keras.metrics": METRIC_FUNCTIONS,
}
# Of all operations, those whose result, or what they compute it with, may be any size whatever goes
# in.
GROWING = _words("""
    Arange Geomspace Linspace Logspace
    Bincount BroadcastTo Diag Diagflat ElasticTransform ExtractPatches ExtractSequences FFT FFT2
    GaussianBlur Histogram IFFT2 IRFFT ISTFT MultiHot OneHot Pad PadImages RFFT Repeat Resize SSIM
    STFT ScaleAndTranslate SegmentMax SegmentMin SegmentProd SegmentSum Tile Unfold Vander
""")


def is_operation(module: object) -> bool:
    """Whether what this module holds are bare operations: they have no weights."""
    return str(module).startswith(("keras.src.ops.", "keras.src.quantizers.", "keras.src.activ"))


def is_layer(module: object, class_name: object) -> bool:
    """Whether it is a layer, a model or a bare operation, where it is on a list at all."""
    if module is None:
        return class_name in UNPLACED_LAYERS
    is_model = class_name in MODELS and class_name in CLASSES.get(str(module), frozenset())
    return is_model or is_operation(module) or str(module).startswith(LAYER_MODULES)
