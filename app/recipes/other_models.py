"""Whether the other models that a step names can be used; pure."""

from collections.abc import Iterator

from app.errors import Complaint
from app.recipes.facts import ModelFacts
from app.recipes.fit import model_complaints, read_tasks, scale_complaints
from app.recipes.steps.base import KERAS_FORMATS, Given, Step
from app.recipes.uploaded_kinds import type_complaints


def other_model_complaints(step: Step, given: Given) -> Iterator[Complaint]:
    """What keeps them from being loaded, and teachers from teaching; pointers lead into the step.

    How students and sources of weights have to fit is for their own techniques to say.
    """
    training = step.training()
    teachers = training.teacher_model_ids if training is not None and training.distill else ()
    tasks = read_tasks(given.model, given.dataset)[0] if given.dataset else ()
    for pointer, model_id in step.model_ids():
        other = given.others.get(model_id)
        if other is None:
            continue
        obstacle = _obstacle(other)
        if obstacle is not None:
            yield Complaint(pointer=pointer, detail=obstacle)
            continue
        yield from type_complaints(other, pointer)
        if model_id in teachers:
            yield from model_complaints(given.model, other, pointer)
            yield from scale_complaints(other, tasks, pointer)


def _obstacle(other: ModelFacts) -> str | None:
    if other.is_quantized:
        return "this model is quantized already; upload the float model it was made from"
    if other.format not in KERAS_FORMATS:
        allowed = ", ".join(sorted(KERAS_FORMATS))
        return f"a {other.format} model cannot be a teacher, student or source; allowed: {allowed}"
    return None
