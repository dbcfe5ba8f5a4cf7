"""Layer patterns against layer names: how much of it one plan may ask for."""

from collections.abc import Iterable

from app.errors import Complaint
from app.recipes.patterns import compiled
from app.recipes.steps.base import Given, Step, patterns_of

# Instructions times characters, at up to 4 ns each. 256 patterns like 'conv2d_[0-9]+' on the most
# layers that a model may have, with names of 30 letters, are two thirds of it.
MOST_WORK = 10**9


def matching_complaints(stages: Iterable[tuple[int, Step, Given]]) -> list[Complaint]:
    """Alone: everything else that is to be said of a recipe matches its patterns first."""
    work = 0
    for index, step, given in stages:
        patterns = patterns_of(step)
        instructions = sum(compiled(pattern).programsize for pattern in patterns)
        work += instructions * sum(len(layer.name) for layer in given.model.layers)
        if work > MOST_WORK:
            detail = (
                f"the layer patterns up to here are too long for the {len(given.model.layers)} "
                f"layers of the model: together they are {instructions} instructions in this "
                "step. Repeat less, or join patterns that begin alike"
            )
            return [Complaint(pointer=f"/recipe/steps/{index}", detail=detail)]
    return []
