"""Machine code of the engine's coder, compiled once by the worker for all its children to read.

In the box they could only compile it anew, each for itself: that takes seconds of every job.
"""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from app.confinement import LISTABLE, PASSABLE, ensure_folder, environment
from worker.engine.coding import kept

MODULE = "worker.engine.coding.compiling"
NICENESS = 10


@dataclass
class CompiledCode:
    """The folder it is kept in, and the process that fills it if that was not done before."""

    folder: Path
    _process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    @classmethod
    def kept_below(cls, home: Path) -> "CompiledCode":
        """Beside its sources, or in `home` where those cannot be written."""
        folder = kept.beside_the_sources() or home / kept.named_after_sources()
        ensure_folder(folder, LISTABLE)
        if os.getuid() == 0:
            # Python makes them as the umask is; children with users of their own go through.
            for made, mode in ((folder.parent, PASSABLE), (folder, LISTABLE)):
                made.chmod(made.stat().st_mode | mode)
        return cls(folder)

    def begin(self) -> None:
        """Have it compiled, beside whatever else goes on; a job that comes first does without."""
        if (self.folder / kept.WHOLE).exists():
            return
        self._process = subprocess.Popen(
            [sys.executable, "-m", MODULE],
            env=environment(self.folder, {kept.INTO: str(self.folder)}),
            stdin=subprocess.DEVNULL,
            umask=0o022,
        )
        os.setpriority(os.PRIO_PROCESS, self._process.pid, NICENESS)

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
