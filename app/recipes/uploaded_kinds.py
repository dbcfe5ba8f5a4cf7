"""What can be done with a model for the kind of file it came in, and for what goes into it."""

from collections.abc import Iterator

from app.errors import Complaint
from app.recipes.facts import ModelFacts, ModelFormat
from app.recipes.outputs import HOLDING_TFLITE, OutputKind
from app.recipes.recipe import Recipe
from app.recipes.steps import Step
from app.recipes.steps.full_integer_quantization import FullIntegerQuantization

# What each can be written as.
WRITABLE: dict[ModelFormat, frozenset[OutputKind]] = {
    ModelFormat.TFLITE: HOLDING_TFLITE,
    ModelFormat.SAVED_MODEL: HOLDING_TFLITE | {"saved_model"},
}
SAVE_AS_KERAS = "it has no Keras layers. Save the model as .keras and upload that"
# Of numbers, those that have a type in tflite files and data sets.
NUMBERS = frozenset(
    {"bool", "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8"}
)
# What layers and interpreters can be given besides.
FED = NUMBERS | {"bfloat16", "complex64", "complex128", "uint16", "uint32", "uint64"}


def kind_complaints(
    recipe: Recipe, outputs: tuple[OutputKind, ...], model: ModelFacts
) -> Iterator[Complaint]:
    """Steps and outputs that need what the file does not have, and what to do about it."""
    for index, step in enumerate(recipe.steps):
        if model.format not in step.formats:
            yield Complaint(pointer=f"/recipe/steps/{index}", detail=_step_detail(step, model))
    for index, kind in enumerate(outputs):
        if kind not in WRITABLE.get(model.format, {kind}):
            yield Complaint(pointer=f"/outputs/{index}", detail=_output_detail(kind, model))
    if model.format is ModelFormat.SAVED_MODEL:
        yield from _saved_model_complaints(recipe, model)
    yield from type_complaints(model, "/model_id")


def type_complaints(model: ModelFacts, pointer: str) -> Iterator[Complaint]:
    """Inputs that take what is no number, texts above all."""
    is_saved_model = model.format is ModelFormat.SAVED_MODEL
    for spec in model.inputs:
        if spec.dtype not in (NUMBERS if is_saved_model else FED):
            yield Complaint(
                pointer=pointer,
                detail=f"the input {spec.name!r} takes values of type {spec.dtype}; jobs give "
                f"models numbers only. {'Export' if is_saved_model else 'Save'} the model without "
                "the layers that read them",
                hint="Let the model begin behind them, keras.Model(what they give, outputs), and "
                "do their part before it.",
            )


def _step_detail(step: Step, model: ModelFacts) -> str:
    technique, formats = step.technique, ", ".join(sorted(step.formats))
    if model.format is ModelFormat.SAVED_MODEL:
        return (
            f"{technique} works on the layers of {formats} models; of a SavedModel, {SAVE_AS_KERAS}"
        )
    return f"{technique} works on {formats} models; this one is {model.format}"


def _output_detail(kind: OutputKind, model: ModelFacts) -> str:
    if model.format is ModelFormat.SAVED_MODEL:
        return (
            f"a SavedModel cannot be turned into {kind}, for {SAVE_AS_KERAS}, or ask for 'tflite'"
        )
    return f"a tflite model cannot be turned back into {kind}; ask for 'tflite'"


def _saved_model_complaints(recipe: Recipe, model: ModelFacts) -> Iterator[Complaint]:
    for index, step in enumerate(recipe.steps):
        if isinstance(step, FullIntegerQuantization) and step.exclude:
            yield Complaint(
                pointer=f"/recipe/steps/{index}/exclude",
                detail=f"layers cannot be left out of a SavedModel, for {SAVE_AS_KERAS}",
            )
