"""Door and inspector over many cases in one process, under the limits of an inspection.

Started as `python -m tests.fuzz.reading START STEP COUNT FORMATS`; a line of JSON for each case.
"""

import os
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from types import FrameType
from typing import Literal

from pydantic import BaseModel

from app.errors import PenjingError
from app.recipes.facts import DatasetOptions
from app.uploads.formats import UploadKind, recognize
from app.uploads.inspector.protocol import Inspection, InspectionOrder
from app.uploads.inspector.read import read
from tests.fuzz.cases import Case, case

LIMIT_S = 20
MEMORY_BYTES = 2**30
KINDS = {"models": UploadKind.MODEL, "datasets": UploadKind.DATASET}
# What the inspector's process itself answers with a refusal.
OUT_OF_BOUNDS = (MemoryError, RecursionError)

# "ready" and the two refusals are verdicts; "limit": too much memory or nesting, refused as well.
Verdict = Literal["ready", "door", "inspector", "limit", "crash", "hang", "death"]


class Outcome(BaseModel):
    """What came of one case; `detail` says where it broke, if it did."""

    number: int
    format: str
    verdict: Verdict
    time_ms: float
    peak_bytes: int
    detail: str = ""


class TookTooLong(BaseException):
    """Not an error that a reader may catch."""


def main() -> None:
    start, step, count = map(int, sys.argv[1:4])
    formats = tuple(filter(None, sys.argv[4].split(",")))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, _take_too_long)
    with tempfile.TemporaryDirectory() as folder:
        # The inspector unpacks into its working folder.
        os.chdir(folder)
        print(flush=True)
        for number in range(start, start + step * count, step):
            print(judge(case(number, formats), Path("upload")).model_dump_json(), flush=True)


def judge(given: Case, path: Path) -> Outcome:
    """Through the door and past the inspector, as `UploadService` does it."""
    path.write_bytes(given.content)
    begun = time.perf_counter()
    signal.alarm(LIMIT_S)
    try:
        verdict, detail = _verdict(given, path)
    except TookTooLong:
        verdict, detail = "hang", _where()
    except Exception:  # noqa: BLE001 - each one is a finding
        verdict, detail = "crash", traceback.format_exc(limit=-4)
    finally:
        signal.alarm(0)
    return Outcome(
        number=given.number,
        format=given.format,
        verdict=verdict,
        time_ms=(time.perf_counter() - begun) * 1000,
        peak_bytes=peak_bytes(os.getpid()),
        detail=detail,
    )


def peak_bytes(pid: int) -> int:
    """Of this program: what getrusage tells begins with the memory of whoever started it."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024


def _verdict(given: Case, path: Path) -> tuple[Verdict, str]:
    try:
        file_format = recognize(path, KINDS[given.kind], given.name)
    except PenjingError as error:
        return "door", error.detail
    try:
        # A warning of numpy goes to the log of the inspector's process, and nowhere else.
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            inspection = read(order(file_format), file)
        # The answer crosses a pipe as JSON.
        Inspection.model_validate_json(inspection.model_dump_json())
    except PenjingError as error:
        return "inspector", error.detail
    except OUT_OF_BOUNDS as error:
        return "limit", type(error).__name__
    return "ready", ""


def order(file_format: str) -> InspectionOrder:
    return InspectionOrder(format=file_format, options=DatasetOptions())


def _take_too_long(number: int, frame: FrameType | None) -> None:
    raise TookTooLong


def _where() -> str:
    return traceback.format_exc(limit=-4)


if __name__ == "__main__":
    main()
