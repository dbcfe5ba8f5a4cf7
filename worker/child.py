"""The process that does the work of one job: `python -m worker.child <channel> <parent> <limits>`.

It binds itself first, then imports the engine, says `ready` on the channel, and waits for the
folder of its job on standard input. It answers on the channel alone, in JSON lines.
"""

import json
import os
import signal
import sys
import tempfile
import traceback
from pathlib import Path

from app.errors import EngineFault, OutOfMemory, PenjingError, Problem
from app.processes import die_with_parent, gain_no_privileges
from worker.engine.foreign import first_line, is_out_of_memory
from worker.engine.order import Event, Order
from worker.limits import Limits


def main() -> None:
    channel, parent, limits = int(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
    die_with_parent(parent, signal.SIGKILL)
    gain_no_privileges()
    Limits(**limits).apply()
    # The channel must not leak into processes of the engine: its end of file says we are gone.
    os.set_inheritable(channel, False)
    serve(channel)


def serve(channel: int) -> None:
    """Import, say so, do one job."""

    def emit(event: Event) -> None:
        os.write(channel, event.as_line())

    from worker.engine import run  # takes seconds: TensorFlow comes with it

    emit(Event(event="ready"))
    line = sys.stdin.readline()
    if not line:
        return
    folder = Path(json.loads(line)["folder"])
    move_into(folder / "scratch")
    try:
        order = Order.model_validate_json((folder / "order.json").read_bytes())
        result = run.run(order, folder, emit)
        (folder / "result.json").write_text(result.model_dump_json())
    except BaseException as error:  # noqa: BLE001 - this is the wall: nothing but events gets out
        traceback.print_exc()
        emit(Event(event="error", problem=problem_of(error)))
        return
    emit(Event(event="done"))


def move_into(scratch: Path) -> None:
    """Leave nothing elsewhere: what is in the job folder goes with it, however the job ends."""
    os.chdir(scratch)
    os.environ["TMPDIR"] = str(scratch)
    tempfile.tempdir = str(scratch)


def problem_of(error: BaseException) -> Problem:
    """Any failure as data; an unexpected one is named in words, without paths or traceback."""
    if isinstance(error, PenjingError):
        return error.as_problem()
    if is_out_of_memory(error):
        return OutOfMemory(
            "the job needs more memory than it may use",
            hint="Give smaller batches, or let the operator raise PENJING_JOB_MEMORY_BYTES.",
        ).as_problem()
    return EngineFault(
        f"{type(error).__name__}: {first_line(error)}",
        hint="This is a defect of Penjing or a model it does not understand yet; please report it.",
    ).as_problem()


if __name__ == "__main__":
    main()
