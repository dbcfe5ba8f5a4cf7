"""In which ways each kind of file is tried: what the recipe converts to, and what comes next."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from app.recipes.outputs import HOLDING_TFLITE, OutputKind
from app.recipes.steps import Conversion
from app.recipes.steps.dynamic_range_quantization import DynamicRangeQuantization
from app.recipes.steps.float16_quantization import Float16Quantization
from app.recipes.steps.full_integer_quantization import FullIntegerQuantization
from app.recipes.steps.weight_only_quantization import WeightOnlyQuantization
from worker.engine.exporting.integers import default_tflite, holds_int8_ranges, in_float32
from worker.engine.exporting.onnx_int8 import convert_qdq
from worker.engine.exporting.onnx_ranges import convert_known_ranges
from worker.engine.exporting.rungs import Rung, Rungs
from worker.engine.exporting.source import Converted, KerasSource, Source, TfliteSource
from worker.engine.exporting.tflite import Variant
from worker.engine.proving.contest import Contest
from worker.engine.steps import Workpiece
from worker.engine.subject import Subject
from worker.engine.techniques import technique

OWN_RANGES = "the model's own ranges"


@dataclass(frozen=True)
class Ways:
    """What the files of one optimized model can be made from."""

    source: Source
    work: Workpiece
    conversion: Conversion | None
    subject: Subject
    scratch: Path
    check_cancelled: Callable[[], None]

    def rungs(self) -> Rungs:
        """By kind, the best first; the last is the model as it is."""
        tflite = [*self._converted(), *self._from_ranges(), *self._float_forms(), *self._float32()]
        onnx = [
            Rung(OWN_RANGES, partial(convert_known_ranges, self.source)),
            *self._converted_onnx(),
            Rung(Variant.FLOAT32, _as_it_is),
        ]
        ways: dict[OutputKind, list[Rung]] = dict.fromkeys(HOLDING_TFLITE, tflite)
        return {**ways, "onnx": onnx}

    def _converted(self) -> Iterator[Rung]:
        conversion, source = self.conversion, self.source
        if conversion is None:
            return
        convert = technique(conversion.technique).convert
        yield Rung(
            conversion.technique,
            partial(self.work.convert, conversion, source, "tflite", convert),
        )
        for one in next_best(conversion):
            yield Rung(one.technique, partial(self.work.next_best, one, source))

    def _converted_onnx(self) -> Iterator[Rung]:
        """Of all conversions, ONNX Runtime has a form for this one alone."""
        if isinstance(self.conversion, FullIntegerQuantization):
            convert = partial(self.work.convert, self.conversion, self.source, "onnx", convert_qdq)
            yield Rung(self.conversion.technique, convert)

    def _from_ranges(self) -> Iterator[Rung]:
        """Where the model was trained or calibrated for integers, they need no conversion."""
        if self.conversion is None and isinstance(self.source, KerasSource):
            yield Rung(OWN_RANGES, partial(self._integers, self.source))

    def _integers(self, source: KerasSource) -> Converted | None:
        if not holds_int8_ranges(source):
            return None
        converted = default_tflite(source)
        self.work.warnings += converted.warnings
        return converted

    def _float_forms(self) -> Iterator[Rung]:
        if self.conversion is not None or not isinstance(self.source, KerasSource):
            return
        if self.source.has_wide_ranges:
            return
        contest = Contest(
            self.source, self.subject, self.scratch, self.check_cancelled, self.work.warnings.append
        )
        yield Rung(Variant.SPARSE, contest.sparse)
        yield Rung(Variant.INT8_LEVELS, contest.levels)
        yield Rung(Variant.SPARSE, contest.sparse_after_levels)

    def _float32(self) -> Iterator[Rung]:
        """A file that was uploaded is not offered back as a result."""
        if not isinstance(self.source, TfliteSource):
            yield Rung(Variant.FLOAT32, self._in_float32)

    def _in_float32(self) -> Converted:
        converted = in_float32(self.source)
        self.work.warnings += converted.warnings
        return converted


def next_best(conversion: Conversion) -> Iterator[Conversion]:
    """What keeps most of what a conversion was asked for, the nearest first.

    Where activations were to have 16 bits or to stay float, none with 8 bits takes its place.
    """
    if isinstance(conversion, FullIntegerQuantization) and conversion.activation_bits == 8:
        yield DynamicRangeQuantization()
    if isinstance(conversion, Float16Quantization):
        return
    if not (isinstance(conversion, WeightOnlyQuantization) and conversion.num_bits == 8):
        yield WeightOnlyQuantization()
    yield Float16Quantization()


def _as_it_is() -> None:
    """The writer of the kind knows what to do."""
