"""The folder of one child, and with it of the one job that the child does."""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from app.confinement import LISTABLE, PASSABLE, ensure_folder, make_folder
from worker.engine.order import INPUTS, OUTPUTS, SCRATCH
from worker.removal import remove_tree

# No training keeps more states than this; what is beyond was not left by one.
MOST_STATES = 1_000
# Who it belongs to alone, before the box gives it to a user of its own.
PRIVATE = 0o700


@dataclass(frozen=True)
class JobFolder:
    """Made before its child starts, since the child is bound to it before it runs anything.

    `worker.engine.order` says what is where. A child may read `inputs` and write the others.
    """

    path: Path

    @classmethod
    def made_in(cls, home: Path) -> Self:
        folder = cls(home / secrets.token_hex(8))
        make_folder(folder.path, PASSABLE)
        make_folder(folder.inputs, LISTABLE)
        for part in folder.writable:
            make_folder(part, PRIVATE)
        return folder

    @property
    def inputs(self) -> Path:
        return self.path / INPUTS

    @property
    def outputs(self) -> Path:
        return self.path / OUTPUTS

    @property
    def scratch(self) -> Path:
        return self.path / SCRATCH

    @property
    def states(self) -> Path:
        """What is kept for the next attempt, as long as the child has no job."""
        return self.path / "checkpoints"

    @property
    def session(self) -> Path:
        """Says which processes are at work here, to those who come after a dead worker."""
        return self.path / "session"

    @property
    def writable(self) -> tuple[Path, ...]:
        return self.outputs, self.scratch, self.states

    def keep_states_at(self, kept: Path) -> None:
        """Give `states` its lasting place, with what earlier attempts left there.

        The child's right to write hangs on the folder itself, not on its name; an attempt that was
        taken for dead loses its own.
        """
        ensure_folder(kept.parent, PASSABLE)
        if kept.is_dir():
            self._take_over(kept)
            remove_tree(kept)
        self.states.rename(kept)

    def _take_over(self, kept: Path) -> None:
        owner = self.states.stat()
        with os.scandir(kept) as entries:
            for count, entry in enumerate(entries):
                if count < MOST_STATES and entry.is_file(follow_symlinks=False):
                    moved = self.states / entry.name
                    Path(entry.path).rename(moved)
                    os.chown(moved, owner.st_uid, owner.st_gid, follow_symlinks=False)

    def remove(self) -> None:
        remove_tree(self.path)
