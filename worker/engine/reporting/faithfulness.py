"""Whether integer files decide as the Keras model does whose rounding they are to compute."""

from collections.abc import Iterator, Sequence

import keras
import numpy as np

from app.reports.report import Measurement
from worker.engine.loading.splits import Array
from worker.engine.measuring.calling import call_in_order
from worker.engine.proving.bench import Measured
from worker.engine.quantizing.fake_quant import ranges_of
from worker.engine.reporting.figures import agreement_of
from worker.engine.subject import Subject

COMPUTED_IN_INTEGERS = frozenset({"int8", "int16x8", "mixed"})
# Of the rows: what simulated and real arithmetic may differ in is a rounding here and there.
ENOUGH = 0.999
BATCH = 256


def agreements_with_keras(
    subject: Subject, model: keras.Model | None, files: Sequence[Measured]
) -> list[float | None]:
    """For each file the share of rows on which it decides as the model, whose ranges it has.

    Null where the file does not compute in integers, where the model has no ranges, and where
    nothing is decided: in regression.
    """
    is_asked = [one.file.variant in COMPUTED_IN_INTEGERS for one in files]
    if model is None or not any(is_asked) or not ranges_of(model):
        return [None] * len(files)
    own = _own_outputs(subject, model, files)
    return [
        agreement_of(subject, own, one.outputs) if asked else None
        for one, asked in zip(files, is_asked, strict=True)
    ]


def faithfulness_warnings(outputs: Sequence[Measurement]) -> Iterator[str]:
    """A sentence for every file that decides otherwise on more rows than rounding explains."""
    for one in outputs:
        agreed = one.agreement_with_keras
        if agreed is not None and agreed < ENOUGH:
            rows = f" ({round(agreed * one.samples)} of {one.samples})" if one.samples else ""
            yield (
                f"The {one.format} file decides as the Keras model of this job on "
                f"{100 * agreed:.2f} % of the rows{rows}, less than {100 * ENOUGH:.1f} %: trust "
                "the figures of the file, not those of the steps, which simulate its integers."
            )


def _own_outputs(subject: Subject, model: keras.Model, files: Sequence[Measured]) -> list[Array]:
    """Of the model for every measured row; read from its own file where there is one."""
    for one in files:
        if one.file.kind == "keras":
            return one.outputs
    batches = [
        [np.asarray(output) for output in call_in_order(model, list(batch.values()))]
        for batch in subject.measured_batches(BATCH)
    ]
    return [np.concatenate(parts) for parts in zip(*batches, strict=True)]
