"""How many inputs and outputs each operator has: interpreters read so many, there or not."""

from typing import NamedTuple

OPTIONAL = -1
ANY = 10_000


class Arity(NamedTuple):
    """`optional`: the first input that may be left out."""

    inputs: tuple[int, int] = (1, ANY)
    outputs: tuple[int, int] = (1, ANY)
    optional: int = ANY


def _all(names: str, arity: Arity) -> dict[str, Arity]:
    return dict.fromkeys(names.split(), arity)


ONE = Arity((1, 1), (1, 1))
TWO = Arity((2, 2), (1, 1))
THREE = Arity((3, 3), (1, 1))
FOUR = Arity((4, 4), (1, 1))
WITH_BIAS = Arity((2, 3), (1, 1), optional=2)
RECURRENT = Arity((5, 48), (1, 4), optional=1)
ARITIES: dict[str, Arity] = {
    **_all(
        """
        ABS AVERAGE_POOL_2D BITCAST BUCKETIZE CAST CEIL COMPLEX_ABS COS DENSIFY DEPTH_TO_SPACE
        DEQUANTIZE ELU EXP FAKE_QUANT FLOOR GELU HARD_SWISH HASHTABLE_SIZE IMAG
        L2_NORMALIZATION L2_POOL_2D LEAKY_RELU LOCAL_RESPONSE_NORMALIZATION LOG LOGICAL_NOT LOGISTIC
        LOG_SOFTMAX MATRIX_DIAG MAX_POOL_2D NEG QUANTIZE RANDOM_STANDARD_NORMAL RANDOM_UNIFORM RANK
        READ_VARIABLE REAL RELU RELU6 RELU_0_TO_1 RELU_N1_TO_1 ROUND RSQRT SHAPE SIGN SIN SOFTMAX
        SPACE_TO_DEPTH SQRT SQUARE SQUEEZE TANH WHERE ZEROS_LIKE
        """,
        ONE,
    ),
    **_all(
        """
        ADD ARG_MAX ARG_MIN ATAN2 BATCH_MATMUL BITWISE_XOR BROADCAST_ARGS BROADCAST_TO CUMSUM DIV
        EMBEDDING_LOOKUP EQUAL EXPAND_DIMS FILL FLOOR_DIV FLOOR_MOD GATHER GATHER_ND GREATER
        GREATER_EQUAL LESS LESS_EQUAL LOGICAL_AND LOGICAL_OR MATRIX_SET_DIAG MAXIMUM MEAN MINIMUM
        MIRROR_PAD MUL MULTINOMIAL NOT_EQUAL PAD POW PRELU REDUCE_ALL REDUCE_ANY REDUCE_MAX
        REDUCE_MIN REDUCE_PROD RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR REVERSE_SEQUENCE REVERSE_V2
        RFFT2D RIGHT_SHIFT SEGMENT_SUM SQUARED_DIFFERENCE SUB SUM TILE TRANSPOSE
        """,
        TWO,
    ),
    **_all(
        """
        BATCH_TO_SPACE_ND DILATE DYNAMIC_UPDATE_SLICE HASHTABLE_FIND PADV2 RANGE SCATTER_ND SELECT
        SELECT_V2 SLICE SPACE_TO_BATCH_ND UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_MIN
        UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_SUM
        """,
        THREE,
    ),
    **_all("ONE_HOT SPARSE_TO_DENSE STRIDED_SLICE", FOUR),
    **_all("CONV_2D CONV_3D DEPTHWISE_CONV_2D FULLY_CONNECTED", WITH_BIAS),
    **_all(
        """
        BIDIRECTIONAL_SEQUENCE_LSTM BIDIRECTIONAL_SEQUENCE_RNN LSTM RNN SVDF
        UNIDIRECTIONAL_SEQUENCE_LSTM UNIDIRECTIONAL_SEQUENCE_RNN
        """,
        RECURRENT,
    ),
    **_all("ADD_N CONCATENATION PACK", Arity((1, ANY), (1, 1))),
    **_all("CONV_3D_TRANSPOSE TRANSPOSE_CONV", Arity((3, 4), (1, 1), optional=3)),
    **_all("HASHTABLE VAR_HANDLE", Arity((0, 0), (1, 1))),
    "ASSIGN_VARIABLE": Arity((2, 2), (0, 0)),
    "CALL_ONCE": Arity((0, 0), (0, 0)),
    "HASHTABLE_IMPORT": Arity((3, 3), (0, 0)),
    "HASHTABLE_LOOKUP": Arity((3, 3), (2, 2)),
    "IF": Arity((1, ANY), (0, ANY)),
    "NON_MAX_SUPPRESSION_V4": Arity((5, 5), (2, 2)),
    "NON_MAX_SUPPRESSION_V5": Arity((6, 6), (3, 3)),
    "RESHAPE": Arity((1, 2), (1, 1)),
    "SPLIT": Arity((2, 2)),
    "SPLIT_V": Arity((3, 3)),
    "TOPK_V2": Arity((2, 2), (2, 2)),
    "UNIQUE": Arity((1, 1), (2, 2)),
    "UNPACK": Arity((1, 1)),
    "WHILE": Arity((1, ANY), (1, ANY)),
}


def fits(name: str, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> bool:
    """Whether an operator has as many as it must, and lacks only what it may."""
    arity = ARITIES.get(name, Arity())
    least, most = arity.inputs
    fewest, highest = arity.outputs
    is_whole = all(index != OPTIONAL for index in inputs[: arity.optional])
    return least <= len(inputs) <= most and fewest <= len(outputs) <= highest and is_whole
