"""Keras files put together from their parts, as Keras writes them and as a stranger might."""

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

import h5py

Json = dict[str, Any]
Arrays = Mapping[str, Any]


def hdf5(arrays: Arrays, **attributes: str) -> io.BytesIO:
    file = io.BytesIO()
    with h5py.File(file, "w") as written:
        written.attrs.update(attributes)
        for path, array in arrays.items():
            written[path] = array
    return file


def archive(config: Json | str, arrays: Arrays | bytes, **members: bytes) -> io.BytesIO:
    """A `.keras` file. Its weights are arrays, or bytes for what is none."""
    weights = arrays if isinstance(arrays, bytes) else hdf5(arrays).getvalue()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as written:
        written.writestr("metadata.json", '{"keras_version": "3.12.0"}')
        written.writestr("config.json", config if isinstance(config, str) else json.dumps(config))
        written.writestr("model.weights.h5", weights)
        for name, content in members.items():
            written.writestr(name, content)
    return file
