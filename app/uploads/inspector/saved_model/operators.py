"""The operators that a SavedModel may have. All of them compute, from their inputs alone.

The list was measured: what TensorFlow 2.21 writes for every layer of Keras 3 (model.export and
tf.saved_model.save), every function of keras.ops, every network of keras.applications of up to 30
million parameters, and for the layers and networks of Keras 2. Beside it stand near relatives of
what was found, which other versions write. Nothing here reads or writes a file, prints, calls
Python, talks to another process or loads code.
"""


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Calls of other functions, which are held against the same list.
FLOW = frozenset(
    {"Case", "If", "PartitionedCall", "StatefulPartitionedCall", "StatelessCase", "StatelessIf"}
    | {"StatelessWhile", "While"}
)
# Variables of the model itself, and what goes in.
STATE = _names(
    """
    AssignAddVariableOp AssignSubVariableOp AssignVariableOp DisableCopyOnRead NoOp Placeholder
    PlaceholderWithDefault ReadVariableOp ResourceGather ResourceGatherNd VarHandleOp
    VarIsInitializedOp VariableShape
    """
)
# Vocabularies out of the layer's configuration: tables that are filled with constants.
TABLES = _names("HashTableV2 LookupTableFindV2 LookupTableImportV2 LookupTableSizeV2")
ARITHMETIC = _names(
    """
    Abs AccumulateNV2 Acos Acosh Add AddN AddV2 Angle Asin Asinh Atan Atan2 Atanh BesselI0 BesselI0e
    BesselI1 BesselI1e BitwiseAnd BitwiseOr BitwiseXor Ceil ClipByValue Complex ComplexAbs Conj
    Cos Cosh Digamma Div DivNoNan Erf Erfc Erfinv Exp Expm1 Floor FloorDiv FloorMod Imag Inv Invert
    IsFinite IsInf IsNan LeftShift Lgamma Log Log1p LogicalAnd LogicalNot LogicalOr Maximum
    Minimum Mod Mul MulNoNan Ndtri Neg NextAfter Pow Real RealDiv Reciprocal RightShift Rint
    Round Rsqrt Sign Sin Sinh Sqrt Square SquaredDifference Sub Tan TruncateDiv TruncateMod Xdivy
    Xlog1py Xlogy
    """
)
COMPARISONS = _names(
    """
    ApproximateEqual Equal Greater GreaterEqual Less LessEqual NotEqual Select SelectV2
    """
)
REDUCTIONS = _names(
    """
    All Any ArgMax ArgMin Bincount Bucketize Cumprod Cumsum CumulativeLogsumexp DenseBincount
    EuclideanNorm InTopKV2 LowerBound Max Mean Min Prod RaggedBincount SegmentMaxV2 SegmentMean
    SegmentMinV2 SegmentProdV2 SegmentSum SegmentSumV2 Sum TopKV2 UnsortedSegmentMax
    UnsortedSegmentMin UnsortedSegmentProd UnsortedSegmentSum UpperBound
    """
)
SHAPES = _names(
    """
    BatchToSpaceND Bitcast BroadcastArgs BroadcastTo Cast CheckNumerics ConcatV2 Const
    DepthToSpace DynamicPartition DynamicStitch Empty EnsureShape ExpandDims Fill GatherNd GatherV2
    Identity IdentityN InvertPermutation LinSpace MirrorPad OneHot OnesLike Pack Pad PadV2
    ParallelDynamicStitch PreventGradient Range Rank Reshape ReverseSequence ReverseV2 Roll
    ScatterNd Shape ShapeN Size Slice Snapshot SpaceToBatchND SpaceToDepth SparseToDense Split
    SplitV Squeeze StopGradient StridedSlice TensorScatterAdd TensorScatterMax TensorScatterMin
    TensorScatterSub TensorScatterUpdate Tile Transpose Unique UniqueV2 Unpack UnravelIndex Where
    XlaDynamicUpdateSlice ZerosLike
    """
)
MATRICES = _names(
    """
    BatchMatMul BatchMatMulV2 BatchMatMulV3 Cholesky Cross Eig Einsum FFT FFT2D FFT3D IFFT IFFT2D
    IFFT3D IRFFT IRFFT2D Lu MatMul MatrixBandPart MatrixDeterminant MatrixDiagPartV3 MatrixDiagV3
    MatrixInverse MatrixSetDiagV3 MatrixSolve MatrixSolveLs MatrixTriangularSolve Qr RFFT RFFT2D
    SelfAdjointEigV2 Svd
    """
)
NETWORKS = _names(
    """
    AvgPool AvgPool3D BiasAdd CTCGreedyDecoder Conv2D Conv2DBackpropInput Conv3D
    Conv3DBackpropInputV2 DepthwiseConv2dNative Dilation2D Elu FakeQuantWithMinMaxArgs
    FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel FusedBatchNorm FusedBatchNormV2
    FusedBatchNormV3 L2Loss LRN LeakyRelu LogSoftmax MaxPool MaxPool3D MaxPoolV2 Relu Relu6 Selu
    Sigmoid Softmax SoftmaxCrossEntropyWithLogits Softplus Softsign
    SparseSoftmaxCrossEntropyWithLogits Tanh
    """
)
IMAGES = _names(
    """
    AdjustContrastv2 AdjustHue AdjustSaturation CombinedNonMaxSuppression CropAndResize
    ExtractImagePatches HSVToRGB ImageProjectiveTransformV2 ImageProjectiveTransformV3
    NonMaxSuppressionV3 NonMaxSuppressionV4 NonMaxSuppressionV5 RGBToHSV ResizeArea ResizeBicubic
    ResizeBilinear ResizeNearestNeighbor ScaleAndTranslate
    """
)
# What Keras 2 writes beside its LSTM and GRU, for other machines and for training, and beside what
# was adapted to data: nothing here makes an iterator that could be taken from. Of the Optional ones
# OptionalGetValue was seen in a file.
KERAS_2 = _names(
    """
    BiasAddGrad BroadcastGradientArgs ConcatOffset CudnnRNNBackpropV3 CudnnRNNV3 IteratorGetNext
    OptionalFromValue OptionalGetValue OptionalHasValue OptionalNone ReluGrad RngReadAndSkip
    SigmoidGrad StridedSliceGrad TanhGrad
    """
)
# Where one is false, the model gives an error in place of an output.
CLAIMS = frozenset({"Assert"})
LISTS = _names(
    """
    EmptyTensorList TensorListConcatV2 TensorListElementShape TensorListFromTensor
    TensorListGather TensorListGetItem TensorListLength TensorListPopBack TensorListPushBack
    TensorListReserve TensorListResize TensorListScatterV2 TensorListSetItem TensorListSplit
    TensorListStack
    """
)
RANDOM = _names(
    """
    RandomStandardNormal RandomUniform RandomUniformInt StatelessMultinomial
    StatelessRandomGammaV3 StatelessRandomGetAlg StatelessRandomGetKeyCounter
    StatelessRandomGetKeyCounterAlg StatelessRandomNormal StatelessRandomNormalV2
    StatelessRandomUniform StatelessRandomUniformFullIntV2 StatelessRandomUniformInt
    StatelessRandomUniformIntV2 StatelessRandomUniformV2 StatelessShuffle
    StatelessTruncatedNormalV2 TruncatedNormal
    """
)
TEXTS = _names(
    """
    AsString RaggedTensorToTensor SparseCross SparseReshape StaticRegexReplace StringJoin
    StringLower StringNGrams StringSplitV2 StringToHashBucketFast StringToHashBucketStrong
    StringUpper
    """
)
COMPUTING = (
    FLOW
    | STATE
    | TABLES
    | ARITHMETIC
    | COMPARISONS
    | REDUCTIONS
    | SHAPES
    | MATRICES
    | NETWORKS
    | IMAGES
    | KERAS_2
    | CLAIMS
    | LISTS
    | RANDOM
    | TEXTS
)
# Only inside the functions of the saver, with the file name that they are given.
READING = frozenset({"RestoreV2"})
SAVING = frozenset({"MergeV2Checkpoints", "SaveV2", "ShardedFilename", "StaticRegexFullMatch"})
