"""Words of a child, made fit for others: no paths of this machine, and of a bounded length.

A model is a program: what its child says of it is what a stranger says.
"""

import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from app.confinement import IMPORT_ROOT
from app.errors import Complaint, Problem
from worker.engine.foreign import PATH

LONGEST_TEXT = 2_000
MOST_COMPLAINTS = 100
CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")
UNKNOWN_CODE = "engine_fault"
# What tells a traceback from a sentence.
TRACEBACK = re.compile(r"Traceback.*", re.DOTALL)


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
        return self._places.sub("<path>", said)[:longest]

    def problem(self, problem: Problem) -> Problem:
        """What a child says of its own failure."""
        return Problem(
            code=problem.code if CODE.fullmatch(problem.code) else UNKNOWN_CODE,
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
        plain = TRACEBACK.sub("", self.text(said, len(said)))
        return PATH.sub("<path>", plain).strip()[:LONGEST_TEXT]
