"""Ways to write one kind of file, the best first: what comes next where one does not hold."""

from collections.abc import Callable, Mapping, Sequence

from app.errors import ExportFailed, StepFailed
from app.recipes.outputs import OutputKind
from worker.engine.exporting.source import Converted

# Raises: ExportFailed or StepFailed with the reason. Null: it does not apply to this model.
Write = Callable[[], Converted | None]


class Rung:
    """One way, called by a name that a reader of the report knows; written at most once.

    Several kinds of files may hold what it gives.
    """

    def __init__(self, name: str, write: Write) -> None:
        self.name = name
        self._write = write
        self._done: Converted | None = None
        self._is_tried = False
        self._problem: ExportFailed | StepFailed | None = None

    def converted(self) -> Converted | None:
        """Raises: what `write` raises, also when asked again."""
        if not self._is_tried:
            self._is_tried = True
            try:
                self._done = self._write()
            except (ExportFailed, StepFailed) as problem:
                self._problem = problem
        if self._problem is not None:
            raise self._problem
        return self._done


# Kinds that are missing here are written in one way only.
Rungs = Mapping[OutputKind, Sequence[Rung]]
