"""Float tflite file -> the same file with kernels stored as integers, widened when it is loaded."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from worker.engine.exporting.requantize import EVERYTHING, new_quantizer, written
from worker.engine.exporting.stored_levels import StoredNumbers

NOTHING: Mapping[str, StoredNumbers] = {}


def quantize_weights(
    content: bytes, num_bits: int, known: Mapping[str, StoredNumbers] = NOTHING
) -> bytes:
    """Every kernel in `num_bits` per channel, symmetric; those in `known` as the numbers given.

    Raises: StepFailed.
    """
    return written(content, _parameters(content, num_bits, known, keep_others=False))


def store_numbers(content: bytes, known: Mapping[str, StoredNumbers]) -> bytes:
    """Only the constants in `known` as int8; everything else stays as it is.

    Raises: StepFailed.
    """
    return written(content, _parameters(content, 8, known, keep_others=True))


def _parameters(
    content: bytes, num_bits: int, known: Mapping[str, StoredNumbers], *, keep_others: bool
) -> dict[str, Any]:
    """What the quantizer would do to each tensor, with what is known already put in its place."""
    from litert_quantizer import params_generator, qtyping, recipe_manager
    from litert_quantizer.utils import tfl_flatbuffer_utils

    quantizer = new_quantizer(content)
    operators = qtyping.TFLOperationName.ALL_SUPPORTED
    quantizer.add_weight_only_config(EVERYTHING, operators, num_bits)
    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(quantizer.get_quantization_recipe())
    generator = params_generator.ParamsGenerator(tfl_flatbuffer_utils.read_model(content))
    parameters = generator.generate_quantization_parameters(manager, enable_progress_bar=False)
    kept = {"transformations": [qtyping.QuantTransformation.NO_QUANTIZE], "parameters": None}
    for name, of_tensor in parameters.items():
        if name in known:
            _change(of_tensor, {"parameters": _given(known[name], num_bits)})
        elif keep_others:
            _change(of_tensor, kept)
    return parameters


def _change(of_tensor: Any, changes: dict[str, Any]) -> None:
    """Change the uses of a tensor for which the quantizer has scales."""
    of_tensor.consumers = [
        use if use.parameters is None else replace(use, **changes)
        for use in of_tensor.consumers or ()
    ]


def _given(known: StoredNumbers, num_bits: int) -> Any:
    from litert_quantizer import qtyping

    return qtyping.UniformQuantParams(
        num_bits=num_bits,
        quantized_dimension=known.axis,
        scale=known.scale,
        zero_point=0 * known.scale.astype("int64"),
        quantized_data=known.numbers,
    )
