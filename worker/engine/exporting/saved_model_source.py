"""An uploaded SavedModel, and the tflite file that all of its conversions start from."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import tensorflow as tf

from app.errors import ExportFailed
from worker.engine.exporting.checkpoint_parts import parts_where_they_can_be_moved
from worker.engine.exporting.one_row import write_for_one_row
from worker.engine.exporting.signature import SIGNATURE_KEY, Port, RowShapes, shape_of_rows
from worker.engine.exporting.tflite import convert_float32
from worker.engine.foreign import first_line, is_out_of_memory
from worker.engine.loading.saved_models import SavedModel


class SavedModelSource:
    """What conversions of an uploaded SavedModel start from: its float tflite file.

    `row_shapes`: input name -> shape in the data set, without the row axis; it fixes axes that the
    model leaves open.
    """

    def __init__(self, model: SavedModel, scratch: Path, row_shapes: RowShapes) -> None:
        self.model = model
        self._scratch = scratch
        self._row_shapes = row_shapes

    def float32(self) -> bytes:
        """The content of the plain tflite file; converted once."""
        return self._content

    @cached_property
    def _content(self) -> bytes:
        return convert_float32(self._with_fixed_lengths())

    def _with_fixed_lengths(self) -> Path:
        """A SavedModel of the one signature, with every length fixed but for the batch.

        It is written by TensorFlow here: the converter restores variables by the saver of the
        graph, and that of tf.saved_model.save(model) leaves out those of Keras 3.
        Raises: ExportFailed.
        """
        batch = 1 if self.model.is_recurrent or self.model.has_one_row else None
        specs = {
            spec.name: tf.TensorSpec(
                shape_of_rows(
                    Port(spec.name, spec.name, (None, *(spec.shape or ())), spec.dtype),
                    self._row_shapes,
                    batch,
                ),
                spec.dtype,
                name=spec.name,
            )
            for spec in self.model.inputs
        }
        folder = self._scratch / "fixed"
        try:
            module = tf.Module()
            module.model = self._loaded()
            call = tf.function(_caller(self.model, module.model))
            signature = call.get_concrete_function(**specs)
            with parts_where_they_can_be_moved(self._scratch):
                tf.saved_model.save(module, str(folder), signatures={SIGNATURE_KEY: signature})
        except (NotImplementedError, TypeError, ValueError, tf.errors.OpError) as error:
            if is_out_of_memory(error):
                raise
            raise ExportFailed(
                f"the SavedModel cannot be given fixed lengths: {first_line(error)}",
                hint="Export the model again with fixed shapes, or ask for 'saved_model' only.",
            ) from error
        return folder

    def _loaded(self) -> Any:
        """The model, or a copy whose loops take one row at a time."""
        if not self.model.is_recurrent:
            return self.model.loaded
        folder = self._scratch / "one_row"
        write_for_one_row(self.model.folder, folder)
        return tf.saved_model.load(str(folder))


def _caller(model: SavedModel, loaded: Any) -> Callable[..., dict[str, tf.Tensor]]:
    signature = loaded.signatures[model.signature_key]
    names = [head.output for head in model.heads]

    def serve(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        returned = signature(**inputs)
        return {name: returned[name] for name in names}

    return serve
