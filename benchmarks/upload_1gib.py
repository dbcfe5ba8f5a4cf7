"""Upload of 1 GiB: rate beside a plain loop over the same file, and what the API's memory does.

The plain loop reads, hashes, writes and fsyncs. Both are run in turns; each upload is of bytes the
service has not seen. Inspection comes after the upload and is not waited for.

    python -m benchmarks.upload_1gib
"""

import hashlib
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np

from benchmarks.common import MIB, Bench, bench, print_table, resident_bytes

ROUNDS = 3
CHUNK_BYTES = MIB
SIZE_BYTES = 1024 * MIB
SAMPLE_EVERY_S = 0.02


def make_dataset(path: Path) -> None:
    """An uncompressed `.npz` of random bytes: a data set that nothing can make smaller."""
    rows = SIZE_BYTES // 1024
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (rows, 1024), np.uint8)
    np.savez(path, x=x, y=np.zeros(rows, np.uint8))


def change(path: Path) -> None:
    """Other bytes, same size."""
    with path.open("r+b") as file:
        file.seek(SIZE_BYTES // 2)
        file.write(os.urandom(16))


def chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def plain_loop(path: Path, folder: Path) -> float:
    """Seconds to read, hash, write and fsync the file without any service."""
    started = time.perf_counter()
    digest = hashlib.sha256()
    copy = folder / "copy"
    with copy.open("wb") as file:
        for chunk in chunks(path):
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    taken_s = time.perf_counter() - started
    copy.unlink()
    return taken_s


def upload(path: Path, url: str) -> float:
    """Seconds from the first byte sent to the answer."""
    started = time.perf_counter()
    answer = httpx.post(
        f"{url}/v1/datasets",
        params={"name": path.name},
        content=chunks(path),
        headers={
            "Content-Type": "application/octet-stream",
            "Content-Length": str(path.stat().st_size),
        },
        timeout=600,
    )
    answer.raise_for_status()
    return time.perf_counter() - started


class PeakMemory:
    """The largest resident memory of a process while the block runs."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.peak = resident_bytes(pid)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_EVERY_S):
            self.peak = max(self.peak, resident_bytes(self.pid))


def measure(service: Bench, path: Path) -> tuple[list[float], list[float], int]:
    """(plain loop [s], upload [s], growth of the API [bytes])."""
    loops, uploads = [], []
    before = resident_bytes(service.api_pid)
    with PeakMemory(service.api_pid) as memory:
        for _ in range(ROUNDS):
            change(path)
            loops.append(plain_loop(path, service.home))
            uploads.append(upload(path, service.url))
    return loops, uploads, memory.peak - before


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="penjing-") as folder:
        path = Path(folder) / "random.npz"
        make_dataset(path)
        with bench(inspection_wait_s=0, warm_spare=False) as service:
            list(service.client.jobs())
            loops, uploads, growth = measure(service, path)
    loop_s, upload_s = statistics.median(loops), statistics.median(uploads)
    print_table(
        f"Upload of 1 GiB, median of {ROUNDS}",
        [
            ("plain loop", f"{SIZE_BYTES / MIB / loop_s:.0f} MiB/s", ""),
            ("upload", f"{SIZE_BYTES / MIB / upload_s:.0f} MiB/s", ""),
            ("upload / plain loop", f"{loop_s / upload_s:.2f}", "at least 0.6"),
            ("growth of the API's memory", f"{growth / MIB:.1f} MiB", "40 MiB"),
        ],
    )


if __name__ == "__main__":
    main()
