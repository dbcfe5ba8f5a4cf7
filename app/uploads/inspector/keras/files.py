"""Reads `.keras` archives and whole-model `.h5` files without building anything."""

import json
import re
import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterable
from typing import Any, BinaryIO

from app.errors import RejectedUpload
from app.recipes.facts import LayerSpec, ModelFacts, ModelFormat, TensorSpec
from app.recipes.keras import config as keras_config
from app.recipes.keras.activations import sure_activation
from app.recipes.keras.chains import removable_units
from app.recipes.keras.graph import Config, layer_name
from app.recipes.keras.places import put_back
from app.uploads.archive import open_archive
from app.uploads.archive_members import open_member, read_member
from app.uploads.formats import KERAS_MEMBERS, WEIGHTS_MEMBER
from app.uploads.inspector.hdf5.file import Opened, count_not_finite, open_hdf5, stored_arrays
from app.uploads.inspector.keras.compiled import loss_notes
from app.uploads.inspector.keras.names import MODELS
from app.uploads.inspector.keras.rules import check_config, is_quantized
from app.uploads.inspector.keras.weights import (
    counts_in_archive,
    counts_in_h5,
    folder_sizes,
    is_kept_twice,
    is_weight,
    unowned_in_archive,
    unowned_in_h5,
)
from app.uploads.inspector.shown import shown

MAX_CONFIG_BYTES = 32 * 2**20
# Each dict and list takes memory of its own, however little is in it.
MAX_BRACKETS = 500_000
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
CLASS_NAME = b'"class_name"'
INPUT_SHAPES = ("batch_shape", "batch_input_shape", "shape")
ASSETS = "assets/"
DTYPE = re.compile(r"[a-z][a-z0-9_/]{1,40}")
VERSION = re.compile(r"[0-9][0-9A-Za-z.+\-]{0,40}")
CONFIG_ERRORS = (KeyError, TypeError, IndexError, ValueError, AttributeError, OverflowError)


def read_keras(file: BinaryIO, room: BinaryIO | None = None) -> ModelFacts:
    """What a `.keras` archive holds. Its weights are unpacked into `room`, else a temporary file.

    Raises: RejectedUpload.
    """
    with open_archive(file) as archive, room or tempfile.TemporaryFile() as weights:
        _check_members(archive)
        written = read_member(archive, "config.json", MAX_CONFIG_BYTES)
        config = _parsed("config.json", written)
        metadata = _parsed("metadata.json", read_member(archive, "metadata.json", MAX_CONFIG_BYTES))
        _copy_member(archive, WEIGHTS_MEMBER, weights)
        with open_hdf5(weights) as opened:
            sizes = _weight_sizes(opened, written.count(CLASS_NAME))
    compile_config = config.pop("compile_config", None)
    return _facts(
        ModelFormat.KERAS,
        config,
        compile_config,
        sizes,
        counts_in_archive(config, folder_sizes(sizes)),
        metadata.get("keras_version"),
    )


def read_h5(file: BinaryIO) -> ModelFacts:
    """What a whole-model HDF5 file of Keras 2 or 3 holds.

    Raises: RejectedUpload.
    """
    with open_hdf5(file) as opened:
        hdf5 = opened.file
        if "model_config" not in hdf5.attrs:
            raise RejectedUpload(
                "the HDF5 file holds weights but no model",
                hint="Save the whole model with model.save('name.keras'), not its weights alone.",
            )
        written = _attribute(hdf5, "model_config")
        config = _parsed("model_config", written)
        put_back(config)
        compile_config = _parsed("training_config", _attribute(hdf5, "training_config"))
        version = _attribute(hdf5, "keras_version")
        sizes = _weight_sizes(opened, written.count(CLASS_NAME))
    return _facts(
        ModelFormat.H5,
        config,
        compile_config,
        sizes,
        counts_in_h5(config, folder_sizes(sizes)),
        version.decode("ascii", "replace"),
    )


def _check_members(archive: zipfile.ZipFile) -> None:
    """Nothing but the model: beside a fourth file, Keras unpacks the archive to disk."""
    others = sorted(set(archive.namelist()) - KERAS_MEMBERS - {WEIGHTS_MEMBER})
    if not others:
        return
    is_asset = any(name.startswith(ASSETS) for name in others)
    raise RejectedUpload(
        f"the archive holds {shown(others[0])} beside the model",
        hint="A layer keeps words or tables there. Give it its vocabulary as a list "
        "(vocabulary=[...]), or look words up in front of the model."
        if is_asset
        else "Upload the file as model.save('name.keras') wrote it.",
    )


def _copy_member(archive: zipfile.ZipFile, name: str, target: BinaryIO) -> None:
    """HDF5 needs a file to seek in; this one has no name and goes with the process."""
    with open_member(archive, name) as source:
        shutil.copyfileobj(source, target, 2**20)
    target.flush()
    target.seek(0)
    # HDF5 would look for its beginning further on as well.
    if target.read(len(HDF5_MAGIC)) != HDF5_MAGIC:
        raise RejectedUpload(
            f"{name} in the archive is not HDF5 data",
            hint="Upload the file as model.save('name.keras') wrote it.",
        )


def _attribute(hdf5: Any, name: str) -> bytes:
    """A text attribute of the file's root; empty where there is none."""
    value = hdf5.attrs.get(name, b"")
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogateescape")
    if not isinstance(value, bytes) or len(value) > MAX_CONFIG_BYTES:
        raise RejectedUpload(f"the HDF5 attribute {name} is not a text of acceptable length")
    return value


def _parsed(name: str, text: bytes) -> dict[str, Any]:
    if text.count(b"{") + text.count(b"[") > MAX_BRACKETS:
        raise RejectedUpload(f"{name} holds more than {MAX_BRACKETS} lists and objects")
    try:
        value = json.loads(text.decode() or "{}", object_pairs_hook=_object)
    except RejectedUpload as error:
        raise RejectedUpload(f"{name}: {error.detail}", hint=error.hint) from error
    except UnicodeDecodeError as error:
        raise RejectedUpload(f"{name} is not UTF-8 text") from error
    except json.JSONDecodeError as error:
        raise RejectedUpload(f"{name} is not JSON: {error.msg}, character {error.pos}") from error
    except RecursionError as error:
        raise RejectedUpload(f"{name} is nested too deeply to be read") from error
    except ValueError as error:
        raise RejectedUpload(f"{name} holds a number of too many digits") from error
    if not isinstance(value, dict):
        raise RejectedUpload(f"{name} is not a JSON object")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of keys that stand twice, one reader takes the first and another the last."""
    value = dict(pairs)
    if len(value) < len(pairs):
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise RejectedUpload(
            f"the key {shown(twice)} stands twice in one object",
            hint="Upload the file as model.save wrote it.",
        )
    return value


def _weight_sizes(opened: Opened, names: int) -> dict[str, int]:
    """Values in each weight array; all arrays are checked, the weights for NaN as well."""
    sizes: dict[str, int] = {}
    for stored in stored_arrays(opened, names):
        if not is_weight(stored.path):
            continue
        if bad := count_not_finite(stored.dataset):
            raise RejectedUpload(
                f"{bad} of {stored.size} values of the weight {shown(stored.path)} are NaN or "
                "infinite",
                hint="Training diverged before the model was saved; upload an earlier state.",
            )
        if not is_kept_twice(stored.path):
            sizes[stored.path] = stored.size
    return sizes


def _check(config: Config, compile_config: Config | None, sizes: dict[str, int]) -> None:
    if "class_name" not in config:
        raise RejectedUpload(
            "the configuration in the file names no model",
            hint="Save the whole model with model.save('name.keras').",
        )
    if config.get("class_name") not in MODELS or "layers" not in (config.get("config") or {}):
        raise RejectedUpload(
            f"the model is a {shown(str(config.get('class_name')))}; only Sequential and "
            "Functional models can be taken apart",
            hint="Rebuild it with keras.Model(inputs, outputs) and save that.",
        )
    if config["class_name"] == "Sequential" and not sizes and _is_unbuilt(config):
        raise RejectedUpload(
            "the model was never built: it does not say what goes into it, and has no weights",
            hint="Give the Sequential model a keras.Input as its first layer, or train it, "
            "before it is saved.",
        )
    check_config(config, compile_config, stored_values=sum(sizes.values()))


def _is_unbuilt(config: Config) -> bool:
    body = config["config"]
    first = body["layers"][0] if body["layers"] else {"config": {}}
    told = (first.get("build_config"), *(first["config"].get(key) for key in INPUT_SHAPES))
    return not any((*told, body.get("build_input_shape"), "layers" in first["config"]))


def _facts(
    model_format: ModelFormat,
    config: Config,
    compile_config: Config | None,
    sizes: dict[str, int],
    counts: Iterable[int],
    version: object,
) -> ModelFacts:
    try:
        _check(config, compile_config, sizes)
        unowned = unowned_in_h5 if model_format is ModelFormat.H5 else unowned_in_archive
        if path := unowned(config, sizes):
            raise RejectedUpload(
                f"the file stores the weight {shown(path)}, which belongs to no layer of the model",
                hint="Configuration and weights do not belong together; save the model again.",
            )
        layers = tuple(keras_config.layers(config))
        return ModelFacts(
            format=model_format,
            class_name="Sequential" if config["class_name"] == "Sequential" else "Functional",
            inputs=_inputs(config),
            outputs=keras_config.outputs(config),
            heads=keras_config.heads(config, compile_config),
            layers=_layer_specs(config, layers, tuple(counts), sum(sizes.values())),
            layer_count=len(layers),
            parameter_count=sum(sizes.values()),
            is_recurrent=keras_config.is_recurrent(config),
            is_quantized=is_quantized(config),
            keras_version=str(version) if VERSION.fullmatch(str(version)) else None,
            notes=tuple(loss_notes(compile_config)),
        )
    except CONFIG_ERRORS as error:
        raise RejectedUpload(
            f"the model's configuration does not hang together ({type(error).__name__})",
            hint="Save the model again with a current Keras; check that it loads.",
        ) from error


def _inputs(config: Config) -> tuple[TensorSpec, ...]:
    inputs = keras_config.inputs(config)
    for spec in inputs:
        if not DTYPE.fullmatch(spec.dtype):
            raise RejectedUpload(f"the input {spec.name!r} has the type {spec.dtype[:80]!r}")
    return inputs


def _layer_specs(
    config: Config, layers: tuple[Config, ...], counts: tuple[int, ...], total: int
) -> tuple[LayerSpec, ...]:
    """Where the counts do not add up, a layer without any may have some elsewhere: null."""
    is_complete = sum(counts) == total
    uses = Counter(map(layer_name, layers))
    # A nested model may have a layer of the same name.
    single = {name for name, count in uses.items() if count == 1}
    units, ends = removable_units(config), {spec.name for spec in keras_config.outputs(config)}
    return tuple(
        LayerSpec(
            name=layer_name(layer),
            class_name=layer["class_name"],
            parameter_count=count if is_complete or count else None,
            removable_units=units.get(layer_name(layer)) if layer_name(layer) in single else None,
            activation=sure_activation(layer),
            is_output=layer_name(layer) in ends & single,
        )
        for layer, count in zip(layers, counts, strict=True)
    )
