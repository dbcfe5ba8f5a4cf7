"""What the API process costs before it does anything: import time, memory, packages loaded.

python -m benchmarks.api_process
"""

import json
import statistics
import subprocess
import sys

from benchmarks.common import MIB, bench, print_table, resident_bytes

REPEATS = 5
HEAVY = ("tensorflow", "keras", "numpy", "h5py", "scipy", "ai_edge_litert")
PROGRAM = f"""
import json, sys, time
started = time.perf_counter()
import app.main
taken_s = time.perf_counter() - started
print(json.dumps([taken_s, len(sys.modules), [name for name in {HEAVY} if name in sys.modules]]))
"""


def one_import() -> tuple[float, int, list[str]]:
    """(seconds, modules, heavy packages among them) in a fresh process."""
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    taken_s, modules, heavy = json.loads(answer.stdout)
    return taken_s, modules, heavy


def main() -> None:
    imports = [one_import() for _ in range(REPEATS)]
    with bench(warm_spare=False) as service:
        list(service.client.jobs())
        resident = resident_bytes(service.api_pid)
    _, modules, heavy = imports[-1]
    print_table(
        "API process",
        [
            ("import, median of 5", f"{statistics.median(i[0] for i in imports):.2f} s", "1.5 s"),
            ("resident while serving", f"{resident / MIB:.0f} MiB", "120 MiB"),
            ("modules loaded", str(modules), ""),
            ("training stack loaded", ", ".join(heavy) or "none", "none"),
        ],
    )


if __name__ == "__main__":
    main()
