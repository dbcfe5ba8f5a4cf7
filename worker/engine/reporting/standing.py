"""How a model stands on validation rows, when that is clearly worse, and words for it; pure."""

from dataclasses import dataclass

from worker.engine.measuring.statistics import is_beyond_chance

# Of accuracy or r2: less is not worth a warning, however many rows tell of it.
NOTABLE = 0.02


@dataclass(frozen=True)
class Standing:
    """A score on so many rows: an accuracy, or r2 where nothing is classified."""

    score: float
    rows: int
    is_accuracy: bool

    @property
    def measure(self) -> str:
        return "accuracy" if self.is_accuracy else "r2"

    def is_clearly_below(self, other: "Standing") -> bool:
        """Whether it is lower by more than is worth a warning, and than chance explains.

        Of r2, chance is not known.
        """
        if other.score - self.score <= NOTABLE:
            return False
        rows = min(self.rows, other.rows)
        return not self.is_accuracy or is_beyond_chance(self.score, other.score, rows)


@dataclass(frozen=True)
class Fall:
    """A step after which the model stands clearly lower; `number` counts from 1."""

    number: int
    technique: str
    before: Standing
    after: Standing
    is_trained: bool

    def sentence(self) -> str:
        said = (
            f"Step {self.number} ({self.technique}) lowered the {self.after.measure} on "
            f"{self.after.rows} validation rows from {self.before.score:.4f} to "
            f"{self.after.score:.4f}."
        )
        if self.is_trained:
            return said
        return f"{said} Nothing trained after the change: give it a recovery or add fine_tuning."


def other_teacher_sentence(number: int, technique: str, given: Standing, upload: Standing) -> str:
    """That a step did not learn from the uploaded model, which is worse than what it was given."""
    return (
        f"Step {number} ({technique}) learned from the model it was given, which scores "
        f"{given.score:.4f} on {given.rows} validation rows; the uploaded model, its teacher by "
        f"default, scores {upload.score:.4f}. To choose otherwise, name a teacher or set distill "
        "to false."
    )
