"""Which form of a float32 tflite file is offered: its non-zeros, its whole numbers, or as it is.

All three hold the same values. Which of them a runtime executes fastest cannot be known beforehand,
so those that apply are timed against each other in one fresh process. Against float32, non-zeros
have to be faster, whole numbers smaller and not much slower.
"""

import gzip
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from app.errors import ExportFailed, MeasuringFailed, StepFailed
from worker.engine.exporting.source import Converted, KerasSource
from worker.engine.exporting.stored_levels import stored_levels
from worker.engine.exporting.tflite import Variant, convert_sparse
from worker.engine.exporting.weight_only import store_numbers
from worker.engine.measuring.messages import FileToMeasure, Request
from worker.engine.measuring.process import FreshProcess
from worker.engine.measuring.sizes import GZIP_LEVEL
from worker.engine.measuring.tflite_file import read_tflite
from worker.engine.proving.bench import THREADS
from worker.engine.proving.trial import names_of
from worker.engine.subject import Subject

# Below this share of zeros an index costs more than the zero it saves.
LEAST_ZEROS = 0.7
# A kernel that is smaller is not worth a file of its own.
LEAST_WEIGHTS = 1024
# Two medians of the same file differ by less.
NOISE = 0.05
# What a file of a quarter of the size may take longer.
ALLOWED_SLOWER = 0.1
SECONDS = 0.3
INT8 = 8


@dataclass(frozen=True)
class _Form:
    converted: Converted
    latency_ms: float | None


class Contest:
    """The forms of one model's float32 tflite file; written and timed when first asked for.

    `tell` takes sentences for the report.
    """

    def __init__(
        self,
        source: KerasSource,
        subject: Subject,
        scratch: Path,
        check_cancelled: Callable[[], None],
        tell: Callable[[str], None],
    ) -> None:
        self._source = source
        self._subject = subject
        self._scratch = scratch / "contest"
        self._check_cancelled = check_cancelled
        self._tell = tell

    def sparse(self) -> Converted | None:
        """The file with its non-zeros only; null where it does not apply, or is not the best."""
        return self._offered(Variant.SPARSE, 0)

    def levels(self) -> Converted | None:
        """The file with kernels as int8 numbers; null where it does not apply."""
        return self._offered(Variant.INT8_LEVELS, 0) or self._offered(Variant.INT8_LEVELS, 1)

    def sparse_after_levels(self) -> Converted | None:
        """The file with its non-zeros only where it applies, too, but `levels` come first."""
        return self._offered(Variant.SPARSE, 1)

    def _offered(self, variant: Variant, place: int) -> Converted | None:
        there = self._ranked[place : place + 1]
        return next((one for one in there if one.variant == variant), None)

    @cached_property
    def _ranked(self) -> list[Converted]:
        """What is offered in place of float32, the best first.

        Of two, the one that is faster by more than noise; where neither is, the smaller.
        """
        forms = list(self._forms())
        if len(forms) < 2:
            return []
        times = self._latencies([form.content for form in forms])
        dense, *others = (_Form(*pair) for pair in zip(forms, times, strict=True))
        found = [one for one in others if self._is_offered(one, dense)]
        if len(found) == 2:
            fast, slow = sorted(found, key=_latency)
            is_faster = _latency(fast) < _latency(slow) * (1 - NOISE)
            found = [fast, slow] if is_faster else sorted(found, key=_gzip_size)
        return [one.converted for one in found]

    def _is_offered(self, form: _Form, dense: _Form) -> bool:
        """Against float32 alone; tells what a reader could not guess."""
        is_sparse = form.converted.variant == Variant.SPARSE
        if form.latency_ms is None or dense.latency_ms is None:
            if is_sparse:
                self._tell("A sparse tflite file was tried and does not run; it is not offered.")
            return False
        times = f"{_ms(form)} against {_ms(dense)} (p50)"
        if is_sparse and form.latency_ms > dense.latency_ms * (1 - NOISE):
            self._tell(
                f"A sparse tflite file was tried and is not faster by more than {NOISE:.0%}, "
                f"{times}; it is not offered."
            )
            return False
        if form.latency_ms > dense.latency_ms * (1 + ALLOWED_SLOWER):
            self._tell(
                "A tflite file with weights as the whole numbers of their levels was tried and is "
                f"slower by more than {ALLOWED_SLOWER:.0%}, {times}; it is not offered."
            )
            return False
        return True

    def _forms(self) -> Iterator[Converted]:
        content = self._source.float32()
        yield Converted(content, Variant.FLOAT32)
        file = read_tflite(content)
        if file.is_quantized:
            return
        known = stored_levels(self._source.model, self._source.levels, file, INT8)
        if known:
            stored = store_numbers(content, known)
            # Of tiny kernels, what says how to widen them weighs more than they save.
            if len(stored) < len(content) and _gzipped(stored) < _gzipped(content):
                yield Converted(stored, Variant.INT8_LEVELS)
        is_worth_it = any(
            tensor.size >= LEAST_WEIGHTS and (tensor.values == 0).mean() >= LEAST_ZEROS
            for operator in file.operators
            if operator.name == "FULLY_CONNECTED"
            for tensor in operator.constants
            if len(tensor.shape) > 1
        )
        if is_worth_it:
            yield from self._sparse_form()

    def _sparse_form(self) -> Iterator[Converted]:
        try:
            content = convert_sparse(self._source.saved_model_for_tflite())
        except (ExportFailed, StepFailed) as error:
            self._tell(f"No sparse tflite file: {error.detail}")
            return
        yield Converted(content, Variant.SPARSE)

    def _latencies(self, contents: list[bytes]) -> list[float | None]:
        self._check_cancelled()
        process = FreshProcess(self._scratch, needs_tensorflow=False)
        try:
            results = process.measure(self._request(contents), self._check_cancelled)
        except MeasuringFailed:
            return [None] * len(contents)
        return [one.latency.ms_p50 if one.latency else None for one in results]

    def _request(self, contents: list[bytes]) -> Request:
        names = names_of(self._source, self._subject)
        row = next(self._subject.measured_batches(1)).values()
        inputs = {name: self._scratch / f"input_{k}.npy" for k, name in enumerate(names.inputs)}
        for path, array in zip(inputs.values(), row, strict=True):
            np.save(path, array[:1])
        paths = [self._scratch / f"{index}.tflite" for index in range(len(contents))]
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        return Request(
            files=tuple(FileToMeasure("tflite", str(path)) for path in paths),
            inputs={name: str(path) for name, path in inputs.items()},
            outputs=names.outputs,
            groups=(tuple(range(len(paths))),),
            threads=THREADS,
            seconds=SECONDS,
            folder=str(self._scratch),
        )


def _latency(form: _Form) -> float:
    return math.inf if form.latency_ms is None else form.latency_ms


def _gzip_size(form: _Form) -> int:
    return _gzipped(form.converted.content)


def _gzipped(content: bytes) -> int:
    return len(gzip.compress(content, GZIP_LEVEL, mtime=0))


def _ms(form: _Form) -> str:
    return "?" if form.latency_ms is None else f"{form.latency_ms:.4g} ms"
