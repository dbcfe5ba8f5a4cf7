"""Unpacks one file in a process of its own, with a ceiling on its memory.

    python -m worker.engine.coding FILE OUT MEMORY_BYTES

It answers on its standard output, in one line of JSON: `{"size_bytes": ...}` or `{"problem": ...}`.
"""

import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

from app.errors import OutOfMemory, PenjingError
from app.processes import die_with_parent, keep_memory_private
from worker.engine.foreign import is_out_of_memory


def main(arguments: list[str]) -> None:
    die_with_parent(os.getppid(), signal.SIGKILL)
    keep_memory_private()
    file, out, memory_bytes = Path(arguments[0]), Path(arguments[1]), int(arguments[2])
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = memory_bytes if hard == resource.RLIM_INFINITY else min(memory_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    answer = json.dumps(_answer(file, out))
    sys.stdout.write(f"{answer}\n")


def _answer(file: Path, out: Path) -> dict[str, Any]:
    from worker.engine.coding.unpacking import unpack  # takes seconds: Keras comes with it
    from worker.engine.progress import never_cancelled

    try:
        unpack(file.read_bytes(), out, never_cancelled)
    except PenjingError as error:
        return {"problem": error.as_problem().model_dump(mode="json")}
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        problem = OutOfMemory(
            "unpacking needs more memory than it may use",
            hint="The file may be damaged on purpose; --memory allows more.",
        )
        return {"problem": problem.as_problem().model_dump(mode="json")}
    return {"size_bytes": out.stat().st_size}


if __name__ == "__main__":
    main(sys.argv[1:])
