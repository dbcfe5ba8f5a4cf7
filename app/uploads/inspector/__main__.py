"""One inspection: order as argument, file as standard input, answer on standard output."""

import sys

from app.errors import PenjingError, RejectedUpload
from app.uploads.inspector.confinement import confine
from app.uploads.inspector.order import Inspection, InspectionOrder


def main() -> None:
    order = InspectionOrder.model_validate_json(sys.argv[1])
    confine(
        memory_bytes=order.memory_bytes,
        cpu_s=order.cpu_s,
        file_bytes=order.file_bytes,
        parent=order.parent,
    )
    sys.stdout.write(_answer(order).model_dump_json())


def _answer(order: InspectionOrder) -> Inspection:
    # After the limits are set: numpy and h5py are native code that must not run outside them.
    from app.uploads.inspector.read import read

    try:
        return read(order, sys.stdin.buffer)
    except PenjingError as error:
        return Inspection(problem=error.as_problem())
    except (MemoryError, RecursionError) as error:
        refusal = RejectedUpload(
            "the file needs more memory to read than an upload may take"
            if isinstance(error, MemoryError)
            else "the file is nested too deeply to be read",
        )
        return Inspection(problem=refusal.as_problem())


main()
