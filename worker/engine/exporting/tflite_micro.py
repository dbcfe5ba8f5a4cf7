"""What a tflite file needs of tflite-micro: operators to register, memory for its tensors."""

from collections.abc import Iterator, Mapping

from worker.engine.measuring.tflite_file import Tensor, TfliteFile, read_tflite

# What MicroMutableOpResolver calls otherwise than by its words in CamelCase.
IRREGULAR = {
    "BATCH_MATMUL": "BatchMatMul",
    "CUMSUM": "CumSum",
    "PADV2": "PadV2",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTM",
}
# Operators that its resolver has (micro_mutable_op_resolver.h of tflite-micro).
RESOLVER_HAS = (
    "ABS ADD ADD_N ARG_MAX ARG_MIN ASSIGN_VARIABLE AVERAGE_POOL_2D BATCH_MATMUL BATCH_TO_SPACE_ND "
    "BROADCAST_ARGS BROADCAST_TO CALL_ONCE CAST CEIL CONCATENATION CONV_2D COS CUMSUM "
    "DEPTH_TO_SPACE DEPTHWISE_CONV_2D DEQUANTIZE DIV ELU EQUAL EXP EXPAND_DIMS FILL FLOOR "
    "FLOOR_DIV FLOOR_MOD FULLY_CONNECTED GATHER GATHER_ND GREATER GREATER_EQUAL HARD_SWISH IF "
    "L2_NORMALIZATION L2_POOL_2D LEAKY_RELU LESS LESS_EQUAL LOG LOG_SOFTMAX LOGICAL_AND "
    "LOGICAL_NOT LOGICAL_OR LOGISTIC MAX_POOL_2D MAXIMUM MEAN MINIMUM MIRROR_PAD MUL NEG NOT_EQUAL "
    "PACK PAD PADV2 PRELU QUANTIZE READ_VARIABLE REDUCE_MAX RELU RELU6 RESHAPE RESIZE_BILINEAR "
    "RESIZE_NEAREST_NEIGHBOR ROUND RSQRT SELECT_V2 SHAPE SIN SLICE SOFTMAX SPACE_TO_BATCH_ND "
    "SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM "
    "SVDF TANH TRANSPOSE TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM UNPACK VAR_HANDLE WHILE "
    "ZEROS_LIKE"
)
KNOWN = frozenset(RESOLVER_HAS.split())
# They multiply with kernels, which tflite-micro wants in the type that the activations have.
WITH_KERNELS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"})
ALIGNMENT = 16

NOTE = """A tflite file of {size} bytes as a C++ array, for TensorFlow Lite for Microcontrollers.

    #include "model_data.h"
    #include "tensorflow/lite/micro/micro_interpreter.h"
    #include "tensorflow/lite/micro/micro_mutable_op_resolver.h"

    alignas(16) static uint8_t arena[kArenaSize];
    tflite::MicroMutableOpResolver<{count}> resolver;
{registered}
    tflite::MicroInterpreter interpreter(tflite::GetModel({array}), resolver, arena, kArenaSize);
    interpreter.AllocateTensors();

kArenaSize: tensors that are needed at the same time take {arena} bytes (batch 1). The interpreter's
own structures and its kernels' scratch come on top: start with {start} bytes, then read
interpreter.arena_used_bytes() and take that.
"""


def micro_note(content: bytes, array: str) -> str:
    """How to run the file there, and what of it cannot run there."""
    file = read_tflite(content)
    names = sorted({operator.name for operator in file.operators})
    arena = arena_bytes(file)
    text = NOTE.format(
        size=len(content),
        count=len(names),
        registered="".join(f"    resolver.{method_of(name)}();\n" for name in names),
        array=array,
        arena=arena,
        start=-(-2 * arena // 1024) * 1024 + 4096,
    )
    obstacles = "".join(f"- {sentence}\n" for sentence in _obstacles(file))
    return f"{text}\nThis file will not run there as it is:\n{obstacles}" if obstacles else text


def method_of(operator: str) -> str:
    """What registers an operator: AddConv2D for CONV_2D."""
    words = "".join(word.title() for word in operator.split("_"))
    return "Add" + IRREGULAR.get(operator, words)


def arena_bytes(file: TfliteFile) -> int:
    """The most bytes of activations that are alive at once, each tensor rounded up to 16.

    A lower bound on the arena: a planner that places tensors cannot do better.
    """
    last_use = _last_uses(file)
    alive = {id(port.tensor): port.tensor for port in file.inputs}
    most = _bytes_of(alive)
    for index, operator in enumerate(file.operators):
        made = [tensor for tensor in operator.outputs if not tensor.is_constant]
        alive |= {id(tensor): tensor for tensor in made}
        most = max(most, _bytes_of(alive))
        alive = {key: tensor for key, tensor in alive.items() if last_use.get(key, -1) > index}
    return most


def _last_uses(file: TfliteFile) -> dict[int, int]:
    """Tensor -> the last operator that reads it; outputs of the model stay to the end."""
    end = len(file.operators)
    used = {
        id(tensor): index
        for index, operator in enumerate(file.operators)
        for tensor in operator.inputs
    }
    return {**used, **{id(port.tensor): end for port in file.outputs}}


def _bytes_of(alive: Mapping[int, Tensor]) -> int:
    return sum(_rounded_up(tensor.size * tensor.bits // 8) for tensor in alive.values())


def _rounded_up(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _obstacles(file: TfliteFile) -> Iterator[str]:
    unknown = sorted({one.name for one in file.operators} - KNOWN)
    if unknown:
        yield f"tflite-micro has no operator {', '.join(unknown)}."
    if any(tensor.type_name == "FLOAT16" for tensor in file.weights):
        yield "It does not widen float16 weights; ask for full_integer_quantization."
    mixed = sorted({one.name for one in file.operators if _is_hybrid(one.inputs, one.name)})
    if mixed:
        yield (
            f"It does not mix float activations with integer weights ({', '.join(mixed)}); ask "
            "for full_integer_quantization."
        )


def _is_hybrid(inputs: tuple[Tensor, ...], name: str) -> bool:
    if name not in WITH_KERNELS:
        return False
    constants = [tensor for tensor in inputs if tensor.is_constant and len(tensor.shape) > 1]
    variables = [tensor for tensor in inputs if not tensor.is_constant]
    return any(not one.is_float for one in constants) and any(one.is_float for one in variables)
