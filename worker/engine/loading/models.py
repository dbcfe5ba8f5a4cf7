"""Loads Keras models from files, and names what goes in and comes out of them."""

import json
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import keras

from app.errors import ModelNotLoadable
from app.recipes.facts import Head, ModelFormat, TensorSpec
from app.recipes.keras import config as keras_config
from worker.engine.foreign import first_line, is_out_of_memory
from worker.engine.loading import misfits
from worker.engine.loading.faults import of_the_model, unmade
from worker.engine.loading.keras_h5 import readable
from worker.engine.loading.precision import in_float32
from worker.engine.order import ModelFile

Config = dict[str, Any]
# Keras goes from a model's end to its beginning by a call inside a call, one for each layer in a
# row: Python's own limit of 1,000 ends that in a network like ResNet-1001. The door takes 5,000.
sys.setrecursionlimit(6_000)


@dataclass(frozen=True)
class OtherModels:
    """The models that steps name besides the job's own; each is loaded when it is asked for."""

    files: Mapping[str, ModelFile]

    def __call__(self, model_id: str) -> keras.Model:
        """Raises: ModelNotLoadable."""
        file = self.files[model_id]
        return load_model(file.path, file.format)


def load_model(path: Path, format: ModelFormat) -> keras.Model:
    """A Functional or Sequential model in float32, not compiled; no code of the file runs.

    The path ends in `.keras` or `.h5`: Keras goes by it.
    Raises: ModelNotLoadable with what stood in the way.
    """
    model = load_as_saved(path, format)
    with of_the_model("the model cannot be brought to float32"):
        return in_float32(model)


def load_as_saved(path: Path, format: ModelFormat) -> keras.Model:
    """Like `load_model`, but each layer computes in the type its author chose."""
    try:
        model = _load_h5(path) if format is ModelFormat.H5 else _load_keras(path)
    except ModelNotLoadable:
        raise
    # Keras raises whatever a layer's constructor raises; to the caller it is all the same.
    except Exception as error:
        if is_out_of_memory(error):
            raise
        if isinstance(error, RecursionError):
            raise ModelNotLoadable(
                "the model has more layers in a row, or inside each other, than Keras can follow",
                hint="Models of up to 5,000 layers in a row can be loaded here.",
            ) from error
        if misfit := misfits.misfit(str(error)):
            raise ModelNotLoadable(misfit.detail, hint=misfits.HINT, layer=misfit.layer) from error
        found = unmade(str(error))
        raise ModelNotLoadable(
            f"Keras {keras.__version__} cannot rebuild the model: "
            f"{found.detail if found else first_line(error)}",
            layer=found.layer if found else None,
            hint="Only layers that Keras itself has can be loaded. Save the model with "
            "model.save('name.keras') in Keras 3, without Lambda or custom layers.",
        ) from error
    return _with_known_inputs(model)


def read_compile_config(path: Path, format: ModelFormat) -> Config | None:
    """What the model was compiled with; None if it never was."""
    if format is ModelFormat.H5:
        with h5py.File(path, "r") as file:
            written = file.attrs.get("training_config")
        config = json.loads(written) if written is not None else None
    else:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json")).get("compile_config")
    return config or None


def input_specs(model: keras.Model) -> tuple[TensorSpec, ...]:
    """Inputs in the model's order; shapes without the batch axis."""
    return keras_config.inputs(_config(model))


def heads(model: keras.Model, compile_config: Config | None) -> tuple[Head, ...]:
    """How every output ends, in the model's order, with the shape it really has."""
    return tuple(
        head.model_copy(update={"shape": tuple(output.shape[1:])})
        for head, output in zip(
            keras_config.heads(_config(model), compile_config),
            keras.tree.flatten(model.outputs),
            strict=True,
        )
    )


def packed_inputs(model: keras.Model, arrays: Sequence[Any]) -> Any:
    """Inputs in the model's order, in the structure the model is called with."""
    # A Sequential model has no `input` until it was called on a symbolic tensor.
    if isinstance(model, keras.Sequential):
        return arrays[0]
    return keras.tree.pack_sequence_as(model.input, list(arrays))


def flat_outputs(outputs: Any) -> Sequence[Any]:
    """What a model returned, as a list in the order of its outputs."""
    flat: Sequence[Any] = keras.tree.flatten(outputs)
    return flat


def _load_keras(path: Path) -> keras.Model:
    return keras.saving.load_model(path, compile=False, safe_mode=True)


def _load_h5(path: Path) -> keras.Model:
    with h5py.File(path, "r") as file:
        written = file.attrs.get("model_config")
    if written is None:
        raise ModelNotLoadable(
            "the h5 file holds weights only, no model configuration",
            hint="Save the whole model with model.save, not with save_weights.",
        )
    config = json.loads(written)
    as_read = readable(config)
    if as_read == config:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copyfile(path, Path(folder) / "model.h5"))
        with h5py.File(copy, "r+") as file:
            file.attrs["model_config"] = json.dumps(as_read)
        return keras.saving.load_model(copy, compile=False, safe_mode=True)


def _with_known_inputs(model: keras.Model) -> keras.Model:
    if not getattr(model, "inputs", None):
        raise ModelNotLoadable(
            f"the model, a {type(model).__name__}, does not say what goes into it: it was saved "
            "before it was built, or it is neither Functional nor Sequential",
            hint="Give a Sequential model a keras.Input, or build it with keras.Model(inputs, "
            "outputs), before saving.",
        )
    return model


def _config(model: keras.Model) -> Config:
    config: Config = json.loads(model.to_json())
    return config
