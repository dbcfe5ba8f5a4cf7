"""The whole run: door and inspector in processes of their own, then samples over HTTP."""

import argparse
import asyncio
import sys
import time
from pathlib import Path

from tests.fuzz.cases import MUTATIONS, case
from tests.fuzz.confirming import is_held
from tests.fuzz.over_http import send
from tests.fuzz.over_stack import send_to_stack
from tests.fuzz.reading import Outcome
from tests.fuzz.running import run

HELD = "(the inspector in service answers in time)"


def main() -> int:
    given = arguments()
    formats = tuple(sorted(given.formats))
    print(f"cases {given.start} to {given.start + given.count - 1}", flush=True)
    given.keep.mkdir(parents=True, exist_ok=True)

    failures: list[Outcome] = []

    def tell(finding: Outcome) -> None:
        again = case(finding.number, formats)
        path = given.keep / f"{finding.number}-{finding.verdict}.{finding.format}"
        path.write_bytes(again.content)
        held = finding.verdict != "crash" and is_held(again)
        print(f"{finding.verdict}: {path} {HELD if held else finding.detail}", flush=True)
        failures.extend([] if held else [finding])

    begun = time.monotonic()
    tally = run(given.start, given.count, processes=given.processes, formats=formats, tell=tell)
    took_s = time.monotonic() - begun
    print("\n".join(tally.lines()))
    if given.count:
        print(f"{given.count} cases in {took_s:.0f} s, {given.count / took_s:.0f} a second")
    complaints = asyncio.run(send(given.start, given.http, formats)) if given.http else []
    complaints += send_to_stack(given.start, given.up, formats) if given.up else []
    for complaint in complaints:
        print(complaint)
    return 1 if failures or complaints else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="cases read in process")
    parser.add_argument("--start", type=int, default=0, help="number of the first case")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--http", type=int, default=0, help="cases sent to the API as well")
    parser.add_argument("--up", type=int, default=0, help="cases sent to a whole `penjing up`")
    parser.add_argument("--formats", nargs="*", default=(), choices=sorted(MUTATIONS))
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"), help="for findings")
    return parser.parse_args()


sys.exit(main())
