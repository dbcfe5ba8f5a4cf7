"""A `.keras` file or SavedModel folder, called as one compiled graph (never `predict()`)."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from app.recipes.saved_model_files import chosen_signature
from worker.engine.measuring.calling import call_in_order
from worker.engine.measuring.messages import FileToMeasure, Request
from worker.engine.progress import never_cancelled

Array = npt.NDArray[Any]
Rows = Mapping[str, Array]

Call = Callable[[list[tf.Tensor]], list[tf.Tensor]]

BATCH = 256


class TensorflowRunner:
    """A model in TensorFlow with a fixed number of threads."""

    def __init__(self, file: FileToMeasure, request: Request) -> None:
        self.runtime = f"tensorflow {tf.__version__}"
        self._names = tuple(request.inputs)
        self._batch = BATCH
        if file.kind in ("keras", "packed"):
            self.runtime = f"keras {keras.__version__} on {self.runtime}"
            self._call = _keras_call(_unpacked(file, request))
        else:
            self._call, self._batch = _saved_model_call(file.path, request)

    def predict(self, rows: Rows) -> list[Array]:
        count = len(rows[self._names[0]])
        parts = [
            [output.numpy() for output in self._call(self._tensors(rows, start, self._batch))]
            for start in range(0, count, self._batch)
        ]
        return [np.concatenate(part).astype(np.float32) for part in zip(*parts, strict=True)]

    def prepared(self, row: Rows) -> Callable[[], object]:
        tensors = self._tensors(row, 0, 1)
        return partial(self._computed, tensors)

    def _computed(self, tensors: list[tf.Tensor]) -> Array:
        # Reading an output waits for the computation.
        return self._call(tensors)[-1].numpy()

    def _tensors(self, rows: Rows, start: int, size: int) -> list[tf.Tensor]:
        return [tf.constant(rows[name][start : start + size]) for name in self._names]


def use_threads(threads: int) -> None:
    """Before TensorFlow runs its first operation; later it has no effect."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


def _unpacked(file: FileToMeasure, request: Request) -> str:
    """The `.keras` file itself, or the one that comes out of a packed file."""
    if file.kind == "keras":
        return file.path
    # Imported where it is used: numba takes most of a second.
    from worker.engine.coding.unpacking import unpack

    packed = Path(file.path)
    unpacked = Path(request.folder) / f"{packed.name}.keras"
    unpack(packed.read_bytes(), unpacked, never_cancelled)
    return str(unpacked)


def _keras_call(path: str) -> Callable[[list[tf.Tensor]], list[tf.Tensor]]:
    model = keras.models.load_model(path, compile=False)

    @tf.function(reduce_retracing=True)
    def call(tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        return call_in_order(model, tensors)

    return call


def _saved_model_call(path: str, request: Request) -> tuple[Call, int]:
    """Its signature, and how many rows that takes at a time."""
    loaded = tf.saved_model.load(path)
    signature = loaded.signatures[chosen_signature(loaded.signatures)]
    first_axes = [spec.shape[:1] for spec in signature.structured_input_signature[1].values()]

    def call(tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        outputs = signature(**dict(zip(request.inputs, tensors, strict=True)))
        # `loaded` owns the variables that the signature reads.
        return [outputs[name] for name in request.outputs] if loaded else []

    return call, 1 if [1] in first_axes else BATCH
