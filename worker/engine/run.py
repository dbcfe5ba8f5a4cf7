"""The story of one job: a recipe is applied to a model, and what changed is reported."""

from contextlib import closing
from pathlib import Path

from app.recipes.steps.fine_tuning import FineTuning
from app.recipes.steps.recovery import Recovery
from app.reports.report import Control, Measurement
from worker.engine.context import StepContext
from worker.engine.control import run_control, training_for_control
from worker.engine.exports import Exports, Offer
from worker.engine.loading.faults import of_the_model
from worker.engine.loading.models import OtherModels
from worker.engine.offering import Ways
from worker.engine.order import CANCEL, SCRATCH, Order, Result
from worker.engine.progress import Emit, Progress
from worker.engine.proving.bench import Bench
from worker.engine.proving.costs import Costs
from worker.engine.proving.trial import Side, Trial
from worker.engine.reporting.report import Done, rate_files, result_of
from worker.engine.steps import Workpiece, phase_of
from worker.engine.subject import Subject, understand
from worker.engine.training.checkpoints import Checkpoints

# Shares of a job's time: about the seconds of a small model.
LOADING = 1.0
BASELINE = 1.0
CHANGE = 1.0
EPOCH = 5.0
EXPORTING = 1.0
MEASURING = 5.0
REPORTING = 0.2


def run(order: Order, folder: Path, emit: Emit) -> Result:
    """Carry out one job inside its folder; the files to offer are left in `out/`.

    Raises: JobError with the stage at which it ended; Cancelled once `in/cancel` is there.
    """
    progress = Progress(emit, folder / CANCEL, phases(order))
    exports = Exports.asked_for(order.outputs, progress.check_cancelled)
    with closing(Bench(folder / SCRATCH)) as bench:
        with progress.phase("loading"):
            subject = understand(order, bench.scratch)
            context = _context(order, subject, progress, bench.scratch)
            before = Side(subject.source(subject.model, bench.scratch / "before"), subject.model)
            costs = Costs(subject, before.source, bench.scratch)
            work = Workpiece(subject.model, context, progress, costs)
            if not _trains(order):
                # Its imports go on beside the baseline; in a training they would only hold memory.
                bench.prepare(exports)

        with progress.phase("baseline"), of_the_model("the uploaded model cannot be written"):
            baseline = exports.write_baseline(before.source, bench.scratch)

        for index, step in enumerate(order.recipe.transforms):
            with progress.phase(phase_of(index, step)):
                work.transform(step)

        with progress.phase("exporting"):
            bench.prepare(exports)
            after = _changed(before, work, subject, costs, bench.scratch / "after")
            conversion, stop = order.recipe.conversion, progress.check_cancelled
            ways = Ways(after.source, work, conversion, subject, bench.scratch, stop)
            offer = Offer(exports, after.source, folder, ways.rungs())
            files = offer.write_all()

        with progress.phase("measuring"):
            trial = Trial(subject, bench, exports, progress.check_cancelled)
            proven = trial.prove(baseline, before, files, after, offer)
            rated = rate_files(subject, work.model, proven)
            steps = costs.with_latencies(work.reports, progress.check_cancelled)

    control = _control(order, progress, subject, context, rated.baseline)
    with progress.phase("reporting"):
        done = Done(after.source, steps, tuple(work.all_warnings()), exports, control)
        return result_of(order, folder, subject, rated, done)


def phases(order: Order) -> dict[str, float]:
    """The phases this order runs through, with their shares of its time."""
    steps = {
        phase_of(index, step): _share(step.training(), step.training_runs())
        for index, step in enumerate(order.recipe.transforms)
    }
    training = _control_training(order)
    control = {"control": _share(training)} if training else {}
    return {
        "loading": LOADING,
        "baseline": BASELINE,
        **steps,
        "exporting": EXPORTING,
        "measuring": MEASURING,
        **control,
        "reporting": REPORTING,
    }


def _trains(order: Order) -> bool:
    return any(step.training() for step in order.recipe.steps)


def _share(training: Recovery | None, runs: int = 1) -> float:
    return CHANGE + (EPOCH * training.epochs * runs if training else 0.0)


def _control_training(order: Order) -> FineTuning | None:
    return training_for_control(order.recipe) if order.control else None


def _control(
    order: Order,
    progress: Progress,
    subject: Subject,
    context: StepContext,
    baseline: Measurement,
) -> Control | None:
    training = _control_training(order)
    if training is None:
        return None
    with progress.phase("control"):
        return run_control(training, subject.model, context, baseline)


def _context(order: Order, subject: Subject, progress: Progress, scratch: Path) -> StepContext:
    return StepContext(
        seed=order.recipe.seed,
        data=subject.data,
        tasks=subject.tasks,
        masks={},
        report_progress=progress.report,
        check_cancelled=progress.check_cancelled,
        baseline=subject.model,
        load_model=OtherModels(order.others),
        scratch=scratch,
        checkpoints=Checkpoints(order.checkpoints),
    )


def _changed(before: Side, work: Workpiece, subject: Subject, costs: Costs, scratch: Path) -> Side:
    """The optimized side; where its source is known already, nothing is converted again."""
    if work.model is before.model:
        return before
    source = costs.source_of(work.model) or subject.source(work.model, scratch, work.levels)
    return Side(source, work.model)
