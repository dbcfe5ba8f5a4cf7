"""One inspection: order as argument, file as standard input, answer on standard output.

It is started in the box, and knows nothing of it.
"""

import sys

from app.errors import PenjingError, RejectedUpload
from app.processes import keep_memory_private
from app.uploads.inspector.protocol import Inspection, InspectionOrder
from app.uploads.inspector.read import read


def main() -> None:
    order = InspectionOrder.model_validate_json(sys.argv[1])
    keep_memory_private()
    sys.stdout.write(_answer(order).model_dump_json())


def _answer(order: InspectionOrder) -> Inspection:
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
