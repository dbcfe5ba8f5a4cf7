"""Words of a child, made fit for others: no paths, nothing that steers a terminal, no endless text.

A model is a program: what its child says of it is what a stranger says, codes of errors included.
"""

import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from app.confinement import IMPORT_ROOT
from app.errors import (
    ChildCrashed,
    Complaint,
    Invalid,
    JobError,
    Malformed,
    PenjingError,
    Problem,
    QueueTimeExceeded,
    RejectedUpload,
    RunTimeExceeded,
    UnsupportedFormat,
    WorkerLost,
)
from app.recipes.check import ImpossibleRecipe
from app.recipes.task import LabelsDoNotFit
from worker.engine.foreign import PATH

LONGEST_TEXT = 2_000
MOST_COMPLAINTS = 100
UNKNOWN_CODE = "engine_fault"
# What an engine finds wrong beside its own failures: with a recipe, a file or a data set.
COMPLAINTS = (
    Invalid,
    ImpossibleRecipe,
    LabelsDoNotFit,
    Malformed,
    RejectedUpload,
    UnsupportedFormat,
)
# What only a worker finds out, from outside.
SAID_BY_WORKERS = (ChildCrashed, RunTimeExceeded, QueueTimeExceeded, WorkerLost)
# Control characters, and those that turn the direction of writing.
STEERING = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]+")
# What tells a traceback from a sentence.
TRACEBACK = re.compile(r"Traceback.*", re.DOTALL)


def _of_the_engine(family: type[PenjingError]) -> frozenset[str]:
    """Codes of a family of errors as far as `app.errors` declares it: others are the worker's."""
    own = {family.code} if family.__module__ == JobError.__module__ else set()
    return frozenset(own).union(*map(_of_the_engine, family.__subclasses__()))


CODES = (_of_the_engine(JobError) | {kind.code for kind in COMPLAINTS}) - {
    kind.code for kind in SAID_BY_WORKERS
}


class Cleaner:
    """Of what is said in one job; `home` holds its folder and all others."""

    def __init__(self, home: Path) -> None:
        known = {str(home), str(home.resolve()), sys.prefix, sys.base_prefix, str(IMPORT_ROOT)}
        known |= {tempfile.gettempdir()}
        longest_first = sorted((place for place in known if len(place) > 1), key=len, reverse=True)
        places = "|".join(map(re.escape, longest_first))
        self._places = re.compile(rf"(?:{places})(?:/[^\s'\"<>]*)?")

    def text(self, said: str, longest: int = LONGEST_TEXT) -> str:
        """Without paths, whatever characters the folders of this machine have in their names."""
        return STEERING.sub(" ", self._places.sub("<path>", said))[:longest]

    def problem(self, problem: Problem) -> Problem:
        """What a child says of its own failure."""
        return Problem(
            code=problem.code if problem.code in CODES else UNKNOWN_CODE,
            title=self._sentence(problem.title),
            detail=self._sentence(problem.detail),
            stage=problem.stage and self._sentence(problem.stage),
            errors=tuple(
                Complaint(pointer=self.text(one.pointer), detail=self._sentence(one.detail))
                for one in problem.errors[:MOST_COMPLAINTS]
            ),
            retryable=problem.retryable,
            hint=problem.hint and self.text(problem.hint),
            layer=problem.layer and self.text(problem.layer),
        )

    def data(self, said: Any) -> Any:
        """The same for all texts inside of lists and objects, as long as they are."""
        if isinstance(said, str):
            return self.text(said, len(said))
        if isinstance(said, list):
            return [self.data(one) for one in said]
        if isinstance(said, dict):
            return {name: self.data(one) for name, one in said.items()}
        return said

    def _sentence(self, said: str) -> str:
        plain = self.text(TRACEBACK.sub("", said), len(said))
        return PATH.sub("<path>", plain).strip()[:LONGEST_TEXT]
