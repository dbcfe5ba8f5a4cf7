"""The rows that ranges are read from: of the training data, or made up."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from app.errors import StepFailed
from app.recipes.calibration import CalibrationData, CalibrationMethod
from worker.engine.context import StepContext
from worker.engine.loading.models import input_specs
from worker.engine.quantizing.calibration.observing import RowsByInput
from worker.engine.quantizing.calibration.synthetic import synthetic_rows

FEW_SAMPLES = 100
MADE_UP = (
    "Activation ranges were read from synthetic inputs, made so that BatchNormalization layers see "
    "the means and variances they were trained on. Rows of the training data tell more, where "
    "there are any."
)
# Of a job's step, what making up inputs takes.
SHARE_OF_PROGRESS = 0.8


class Calibrating(Protocol):
    """What steps that calibrate have in common."""

    @property
    def calibration(self) -> CalibrationMethod: ...
    @property
    def calibration_samples(self) -> int: ...
    @property
    def calibration_data(self) -> CalibrationData: ...
    @property
    def percentile(self) -> float: ...


@dataclass(frozen=True)
class Sample:
    """Inputs by name in the model's order, [rows, ...] each, and what is to be said of them."""

    rows: RowsByInput
    facts: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def sample_for(step: Calibrating, context: StepContext) -> Sample:
    """A seeded sample of the training split, stratified by label, or synthetic inputs.

    Synthetic ones fit the uploaded model: it has the statistics that a later model may have folded
    away, and takes the same inputs.
    Raises: ValueError if there is no data; the recipe was checked for that. StepFailed where inputs
    cannot be made up.
    """
    if step.calibration_data == "synthetic":
        return _made_up(step.calibration_samples, context)
    if context.data is None:
        raise ValueError("calibration needs a data set, but the job has none")
    rows = context.data.train.sample(step.calibration_samples, seed=context.seed)
    count = len(next(iter(rows.values())))
    facts = {"calibration_data": "training", "calibration_samples": count}
    return Sample(rows, facts, few_samples_warnings(count))


def few_samples_warnings(count: int) -> tuple[str, ...]:
    """In plain words, where the sample is small."""
    if count >= FEW_SAMPLES:
        return ()
    warning = (
        f"Activation ranges were read from {count} training samples only; values beyond them are "
        f"cut off. {FEW_SAMPLES} or more are advisable."
    )
    return (warning,)


def _made_up(count: int, context: StepContext) -> Sample:
    if context.baseline is None:
        raise StepFailed(
            "synthetic inputs are made from a Keras model; a tflite file has no statistics",
            hint="Give a data set and use calibration_data 'training'.",
        )
    shapes = {}
    for spec in input_specs(context.baseline):
        shape = context.row_shapes.get(spec.name, spec.shape)
        if shape is None or None in shape or "float" not in spec.dtype:
            raise StepFailed(
                f"no inputs can be made up for {spec.name!r}, which takes {spec.dtype} of shape "
                f"{spec.shape}: they are real numbers of a known shape",
                hint="Give a data set and use calibration_data 'training'.",
            )
        shapes[spec.name] = tuple(axis for axis in shape if axis is not None)
    telling = _Telling(context)
    made = synthetic_rows(context.baseline, shapes, count, context.seed, telling.tell)
    facts = {
        "calibration_data": "synthetic",
        "calibration_samples": count,
        "statistics_off_before": made.distance_before,
        "statistics_off_after": made.distance_after,
    }
    return Sample(made.rows, facts, (MADE_UP,))


@dataclass(frozen=True)
class _Telling:
    context: StepContext

    def tell(self, fraction: float) -> None:
        self.context.check_cancelled()
        self.context.report_progress(SHARE_OF_PROGRESS * fraction, "synthetic inputs")
