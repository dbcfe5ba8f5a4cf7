"""The process that does the work of one job: `python -m worker.child <channel> <folder>`.

It starts inside the box (`worker.box`): whatever it imports and does, it has no more rights than
that. It imports the engine, says `ready` on the channel, and waits for a line on standard input:
then its job is in the folder. It answers on the channel alone, in JSON lines.
"""

import os
import sys
import traceback
from pathlib import Path

from app.errors import EngineFault, OutOfMemory, PenjingError, Problem
from worker.engine.foreign import first_line, is_out_of_memory
from worker.engine.order import ORDER, RESULT, Event, Order


def main() -> None:
    channel, folder = int(sys.argv[1]), Path(sys.argv[2])
    # The channel must not leak into processes of the engine: its end of file says we are gone.
    os.set_inheritable(channel, False)
    serve(channel, folder)


def serve(channel: int, folder: Path) -> None:
    """Import, say so, do one job."""

    def emit(event: Event) -> None:
        os.write(channel, event.as_line())

    from worker.engine import run  # takes seconds: TensorFlow comes with it

    emit(Event(event="ready"))
    if not sys.stdin.readline():
        return
    try:
        order = Order.model_validate_json((folder / ORDER).read_bytes())
        result = run.run(order, folder, emit)
        (folder / RESULT).write_text(result.model_dump_json())
    except BaseException as error:  # noqa: BLE001 - this is the wall: nothing but events gets out
        traceback.print_exc()
        emit(Event(event="error", problem=problem_of(error)))
        return
    emit(Event(event="done"))


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
