"""The structural experiments on MNIST, each a job through the running service.

An experiment is run once a seed: the seed's own baseline, the seed's own recipe. Figures are those
of the job's report: the baseline's tflite and the optimized tflite, both reloaded in fresh
processes, on the same digits, latency in turns at batch 1 on one thread.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from app.client import Client
from app.recipes.facts import DatasetOptions
from app.reports.report import Report
from benchmarks.structure import nets, recipes
from benchmarks.structure.baselines import Digits, make

SCALE = 1 / 255


@dataclass(frozen=True)
class Laboratory:
    """A running service, the digits it is asked about, and a folder of baselines."""

    client: Client
    digits: Digits
    dataset_id: str
    folder: Path

    @classmethod
    def open(cls, client: Client, mnist: Path, folder: Path, *, choosing: bool) -> "Laboratory":
        digits = Digits.of(mnist)
        name = "choose.npz" if choosing else "report.npz"
        folder.mkdir(parents=True, exist_ok=True)
        file = digits.write(folder / name, choosing=choosing)
        options = DatasetOptions(scale=SCALE)
        return cls(client, digits, client.upload_dataset(file, options=options).id, folder)

    def baseline(self, name: str, seed: int) -> str:
        """The id of an uploaded baseline, trained first if need be."""
        return self.client.upload_model(make(name, self.digits, seed, self.folder)).id

    def untrained(self, seed: int, *units: int) -> str:
        """The id of an uploaded student that knows nothing."""
        path = self.folder / f"student_{'_'.join(map(str, units))}_{seed}.keras"
        nets.untrained_mlp(seed, *units).save(path)
        return self.client.upload_model(path).id

    def report(self, model_id: str, recipe: recipes.Recipe, **job: Any) -> Report:
        """Run one job to its end. Raises: SystemExit where it fails."""
        request = {
            "model_id": model_id,
            "dataset_id": self.dataset_id,
            "recipe": recipe,
            "outputs": ["tflite"],
            **job,
        }
        done = self.client.wait(self.client.submit(request).id)
        if done.state != "succeeded":
            raise SystemExit(f"job {done.id} is {done.state}: {done.error}")
        return self.client.report(done.id)


@dataclass(frozen=True)
class Loss:
    """What one job came to: points of accuracy lost, and how many times faster the file is."""

    points_lost: float
    speedup: float
    baseline_error: float
    error: float

    @classmethod
    def of(cls, report: Report) -> "Loss":
        before, after = report.baseline.accuracy, report.optimized.accuracy
        assert before is not None, "digits are labelled"
        assert after is not None, "digits are labelled"
        return cls(
            points_lost=100 * (before - after),
            speedup=report.delta.speedup or 0.0,
            baseline_error=100 * (1 - before),
            error=100 * (1 - after),
        )


def compressed(
    laboratory: Laboratory, net: str, recipe: Callable[[int], recipes.Recipe], seed: int
) -> Loss:
    """One baseline through one recipe."""
    return Loss.of(laboratory.report(laboratory.baseline(net, seed), recipe(seed)))


@dataclass(frozen=True)
class Lesson:
    """Test errors in percent, of float32 tflite files."""

    teacher: float
    alone: float
    taught: float

    @property
    def gap_closed(self) -> float:
        """Share of the way from the student alone to its teacher."""
        return (self.alone - self.taught) / (self.alone - self.teacher)


def lesson(laboratory: Laboratory, units: tuple[int, ...], epochs: int, seed: int) -> Lesson:
    """Hinton's experiment: the same student from the same start, alone and with a teacher."""
    student = laboratory.untrained(seed, *units)
    alone = laboratory.report(student, recipes.alone(epochs, seed))
    with_teacher = taught(laboratory, units, recipes.taught(epochs, seed), seed)
    return Lesson(
        teacher=Loss.of(with_teacher).baseline_error,
        alone=Loss.of(alone).error,
        taught=Loss.of(with_teacher).error,
    )


def taught(
    laboratory: Laboratory, units: tuple[int, ...], recipe: recipes.Recipe, seed: int
) -> Report:
    """A job on the teacher, whose place an untrained student takes."""
    student = laboratory.untrained(seed, *units)
    return laboratory.report(laboratory.baseline("teacher", seed), recipe, student_model_id=student)


def medians(results: list[Loss]) -> Loss:
    """Field by field over the seeds."""
    return Loss(
        *(
            median(getattr(one, name) for one in results)
            for name in ("points_lost", "speedup", "baseline_error", "error")
        )
    )
