"""What conversions start from: a float Keras model, or an uploaded SavedModel or tflite file."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from app.errors import ExportFailed
from app.recipes.keras import config as keras_config
from app.recipes.patterns import matches
from app.reports.report import SkippedLayer
from worker.engine.exporting.checkpoint_parts import parts_where_they_can_be_moved
from worker.engine.exporting.saved_model_source import SavedModelSource
from worker.engine.exporting.signature import (
    SIGNATURE_KEY,
    RowShapes,
    Signature,
    shape_of_rows,
    signature_of,
)
from worker.engine.exporting.tflite import convert_float32
from worker.engine.foreign import first_line, is_out_of_memory
from worker.engine.loading.splits import fed_type
from worker.engine.measuring.calling import call_in_order
from worker.engine.quantizing.fake_quant import (
    Ranges,
    ranges_of,
    with_fake_quantization,
    without_fake_quantization,
)
from worker.engine.quantizing.levels import LevelsByName
from worker.engine.quantizing.points import points_of

MOST_TFLITE_BITS = 8


@dataclass(frozen=True)
class Converted:
    """The content of a tflite file, and what is to be said about it."""

    content: bytes
    variant: str
    facts: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    skipped: tuple[SkippedLayer, ...] = ()


@dataclass(frozen=True)
class TfliteSource:
    """An uploaded float tflite file."""

    content: bytes

    def float32(self) -> bytes:
        """The file as it was uploaded."""
        return self.content


class KerasSource:
    """A Keras model; what conversions have in common is written at most once.

    `row_shapes`: input name -> shape in the data set, without the row axis; it fixes axes that the
    model leaves open. `levels`: on which few values weights lie, by stable weight name.
    """

    def __init__(
        self,
        model: keras.Model,
        scratch: Path,
        row_shapes: RowShapes,
        levels: LevelsByName | None = None,
    ) -> None:
        self.model = model
        self.levels: LevelsByName = levels or {}
        self.signature: Signature = signature_of(model)
        self.is_recurrent = keras_config.is_recurrent(json.loads(model.to_json()))
        self._scratch = scratch
        self._row_shapes = row_shapes
        self._written: dict[tuple[tf.TensorSpec, ...], Path] = {}
        self._float32: bytes | None = None

    @cached_property
    def ranges(self) -> Ranges:
        """Those of activations that are in the model (quantizing/fake_quant.py), by point."""
        return ranges_of(self.model)

    @property
    def has_wide_ranges(self) -> bool:
        """Whether some ranges have more bits than tflite's fake quantization: no runtime loads it.

        Files of tflite are then those of the model without ranges.
        """
        return any(found.num_bits > MOST_TFLITE_BITS for found in self.ranges.values())

    def with_ranges(self, ranges: Ranges) -> "KerasSource":
        """The source of files in integers with these ranges, by point; those it had are gone."""
        ranged = with_fake_quantization(self.model, ranges)
        return KerasSource(ranged, self._scratch / "ranged", self._row_shapes, self.levels)

    def without_ranges(self) -> "KerasSource":
        """The source of conversions that leave activations in float; itself if it has no ranges."""
        return self._plain if self.ranges else self

    @cached_property
    def _plain(self) -> "KerasSource":
        plain = without_fake_quantization(self.model)
        return KerasSource(plain, self._scratch / "plain", self._row_shapes, self.levels)

    def without_ranges_of(self, patterns: Sequence[str]) -> "KerasSource":
        """The source in which these layers, by patterns of their names, compute in float."""
        kept = {
            point.name: self.ranges[point.name]
            for point in points_of(without_fake_quantization(self.model))
            if point.name in self.ranges
            and not any(matches(pattern, point.layer) for pattern in patterns)
        }
        if len(kept) == len(self.ranges):
            return self
        partly = with_fake_quantization(self.model, kept)
        return KerasSource(partly, self._scratch / "partly", self._row_shapes, self.levels)

    def float32(self) -> bytes:
        """The content of the plain tflite file."""
        if self._float32 is None:
            self._float32 = convert_float32(self.saved_model_for_tflite())
        return self._float32

    def saved_model(self) -> Path:
        """A SavedModel folder that is called exactly as the model is."""
        return self._written_as([port.shape for port in self.signature.inputs])

    def saved_model_for_tflite(self) -> Path:
        """A SavedModel folder with every length fixed, but for the batch.

        Loops over time convert with a batch of 1 only.
        """
        if self.has_wide_ranges:
            return self._plain.saved_model_for_tflite()
        batch = 1 if self.is_recurrent else None
        return self._written_as(
            [shape_of_rows(port, self._row_shapes, batch) for port in self.signature.inputs]
        )

    def _written_as(self, shapes: list[tuple[int | None, ...]]) -> Path:
        specs = tuple(
            tf.TensorSpec(shape, fed_type(port.dtype), name=port.exported_name)
            for shape, port in zip(shapes, self.signature.inputs, strict=True)
        )
        if specs not in self._written:
            self._scratch.mkdir(parents=True, exist_ok=True)
            folder = self._scratch / f"saved_model_{len(self._written)}"
            write_saved_model(self.model, self.signature, list(specs), folder)
            self._written[specs] = folder
        return self._written[specs]


Source = KerasSource | SavedModelSource | TfliteSource


def _readable(output: tf.Tensor) -> tf.Tensor:
    """NumPy, and so whoever runs the file, has no bfloat16."""
    return tf.cast(output, tf.float32) if output.dtype == tf.bfloat16 else output


def write_saved_model(
    model: keras.Model, signature: Signature, specs: list[tf.TensorSpec], folder: Path
) -> None:
    """Write inference under one signature with named inputs and outputs.

    Raises: ExportFailed for a layer that TensorFlow cannot trace.
    """
    output_names = [port.exported_name for port in signature.outputs]

    def serve(*tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = [_readable(tensor) for tensor in call_in_order(model, tensors)]
        return dict(zip(output_names, outputs, strict=True))

    archive = keras.export.ExportArchive()
    archive.track(model)
    try:
        archive.add_endpoint(SIGNATURE_KEY, serve, input_signature=specs)
        with parts_where_they_can_be_moved(folder.parent):
            archive.write_out(str(folder), verbose=False)
    except (NotImplementedError, TypeError, ValueError, tf.errors.OpError) as error:
        if is_out_of_memory(error):
            raise
        raise ExportFailed(
            f"the model cannot be traced as a TensorFlow graph: {first_line(error)}",
            hint="Ask for 'keras' only; such a model runs nowhere but in Keras.",
        ) from error
