"""What structural steps saved: parameters, multiply-accumulates, milliseconds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import keras
import numpy as np

from app.errors import ExportFailed, MeasuringFailed, StepFailed
from app.reports.report import StepReport
from worker.engine.exporting.source import KerasSource, Source
from worker.engine.measuring.macs import macs_by_layer, total
from worker.engine.measuring.messages import FileToMeasure, Request
from worker.engine.measuring.process import FreshProcess
from worker.engine.proving.bench import SECONDS_OF_LATENCY, THREADS
from worker.engine.proving.trial import names_of
from worker.engine.quantizing.levels import LevelsByName
from worker.engine.subject import Subject


@dataclass(frozen=True)
class Weighed:
    """A model as a step found it or left it; `path` is that of its float32 tflite file.

    `obstacle` says why there is no such file.
    """

    parameter_count: int
    macs: int | None
    path: Path | None
    obstacle: str | None


@dataclass(frozen=True)
class Timed:
    """The p50 latency of one model, or why there is none."""

    latency_ms: float | None
    obstacle: str | None


class Costs:
    """Weighs the model that each structural step made; times them all together at the end.

    Other steps keep the structure, so what one structural step made is what the next one finds.
    """

    def __init__(self, subject: Subject, uploaded: Source, scratch: Path) -> None:
        self._subject = subject
        self._uploaded = uploaded
        self._scratch = scratch / "costs"
        self._weighed: list[Weighed] = []
        self._latest: KerasSource | None = None

    def add(self, model: keras.Model, levels: LevelsByName) -> tuple[Weighed, Weighed]:
        """Weigh what a structural step made. Returns: as it was before the step, and after."""
        if not self._weighed:
            self._weighed.append(self._weigh(self._uploaded))
        folder = self._scratch / f"model_{len(self._weighed)}"
        self._latest = KerasSource(model, folder, self._subject.row_shapes, levels)
        self._weighed.append(self._weigh(self._latest))
        return self._weighed[-2], self._weighed[-1]

    def source_of(self, model: keras.Model | None) -> Source | None:
        """The source of what the last structural step made, if nothing changed it since."""
        return self._latest if self._latest and self._latest.model is model else None

    def with_latencies(
        self, reports: Sequence[StepReport], check_cancelled: Callable[[], None]
    ) -> tuple[StepReport, ...]:
        """The reports; those of structural steps with the latencies before and after.

        Raises: Cancelled.
        """
        pairs = iter(pairwise(self._timed(check_cancelled)))
        return tuple(
            report if report.parameter_count_after is None else _timed_report(report, next(pairs))
            for report in reports
        )

    def _weigh(self, source: Source) -> Weighed:
        assert isinstance(source, KerasSource), "a structural step works on a Keras model"
        shapes = [
            self._subject.row_shapes.get(spec.name, spec.shape or ())
            for spec in self._subject.inputs
        ]
        path, obstacle = self._written(source)
        return Weighed(
            parameter_count=source.model.count_params(),
            macs=total(macs_by_layer(source.model, shapes)),
            path=path,
            obstacle=obstacle,
        )

    def _written(self, source: KerasSource) -> tuple[Path | None, str | None]:
        try:
            content = source.float32()
        except (ExportFailed, StepFailed) as error:
            return None, error.detail
        self._scratch.mkdir(parents=True, exist_ok=True)
        path = self._scratch / f"{len(self._weighed)}.tflite"
        path.write_bytes(content)
        return path, None

    def _timed(self, check_cancelled: Callable[[], None]) -> list[Timed]:
        """Every weighed model, interleaved in one fresh process."""
        files = [weighed.path for weighed in self._weighed if weighed.path is not None]
        if not files:
            return [Timed(None, weighed.obstacle) for weighed in self._weighed]
        process = FreshProcess(self._scratch, needs_tensorflow=False)
        try:
            results = iter(process.measure(self._request(files), check_cancelled))
        except MeasuringFailed as error:
            return [Timed(None, weighed.obstacle or error.detail) for weighed in self._weighed]
        timed: list[Timed] = []
        for weighed in self._weighed:
            if weighed.path is None:
                timed.append(Timed(None, weighed.obstacle))
                continue
            result = next(results)
            latency = result.latency.ms_p50 if result.latency else None
            timed.append(Timed(latency, result.error))
        return timed

    def _request(self, files: Sequence[Path]) -> Request:
        names = names_of(self._uploaded, self._subject)
        row = next(self._subject.measured_batches(1)).values()
        inputs = {name: self._scratch / f"input_{k}.npy" for k, name in enumerate(names.inputs)}
        for path, array in zip(inputs.values(), row, strict=True):
            np.save(path, array[:1])
        return Request(
            files=tuple(FileToMeasure("tflite", str(path)) for path in files),
            inputs={name: str(path) for name, path in inputs.items()},
            outputs=names.outputs,
            groups=(tuple(range(len(files))),),
            threads=THREADS,
            seconds=SECONDS_OF_LATENCY,
            folder=str(self._scratch),
        )


def _timed_report(report: StepReport, pair: tuple[Timed, Timed]) -> StepReport:
    before, after = pair
    return report.model_copy(
        update={
            "latency_ms_before": before.latency_ms,
            "latency_ms_after": after.latency_ms,
            "latency_obstacle": before.obstacle or after.obstacle,
        }
    )
