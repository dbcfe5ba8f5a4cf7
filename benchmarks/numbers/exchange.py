"""How long processes of one machine take to give each other what they coded.

    python -m benchmarks.numbers.exchange 53346 --workers 2

Three ways, as many rounds each: shared memory with one-byte words in pipes (what trainings use),
the bytes themselves through pipes, and tf.distribute's all-gather between processes (TCP on this
host). Medians of the process that leads, in ms; every process checks what it got.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from worker.engine.training.gradients.wire import Wire
from worker.engine.training.gradients.words import DONE, GO, Pipes

Message = NDArray[np.uint8]
# Gives a message of one's own, gets those of all: uint8, [workers, bytes].
Exchange = Callable[[int, Message], Message]

WAYS = ("shared memory", "pipes", "tf.distribute")
WARM_UP = 5


class SharedMemory:
    """As in a training: each writes its part, a byte says so, all read all."""

    def __init__(self, rank: int, others: list[Pipes], wire: Wire) -> None:
        self._rank, self.others, self._wire = rank, others, wire

    def __call__(self, step: int, message: Message) -> Message:
        self._wire.write(step, self._rank, 0.0, message)
        if self._rank:
            self.others[0].say(DONE)
            self.others[0].hear()
        else:
            for other in self.others:
                other.hear()
            for other in self.others:
                other.say(GO)
        return self._wire.messages(step)


class ThroughPipes:
    """The leader gathers all messages and sends each of the others all of them."""

    def __init__(self, rank: int, others: list[Pipes], workers: int) -> None:
        self._rank, self._others, self._workers = rank, others, workers

    def __call__(self, step: int, message: Message) -> Message:
        if self._rank:
            _send(self._others[0], message.tobytes())
            found = _receive(self._others[0], self._workers * len(message))
        else:
            parts = [message.tobytes(), *(_receive(one, len(message)) for one in self._others)]
            found = b"".join(parts)
            for other in self._others:
                _send(other, found)
        return np.frombuffer(found, np.uint8).reshape(self._workers, -1)


class Distributed:
    """MultiWorkerMirroredStrategy, whose collectives talk gRPC."""

    def __init__(self, workers: int) -> None:
        import tensorflow as tf

        self._tf, self._workers = tf, workers
        self._strategy = tf.distribute.MultiWorkerMirroredStrategy()
        self._gather = tf.function(self._all_gather)

    def __call__(self, step: int, message: Message) -> Message:
        # Its collectives take no bytes: four of them are one int32.
        words = np.pad(message, (0, -len(message) % 4)).view(np.int32)
        found = self._gather(self._tf.constant(words)).numpy()
        gathered: Message = found.view(np.uint8).reshape(self._workers, -1)[:, : len(message)]
        return gathered

    def _all_gather(self, message: object) -> object:
        return self._strategy.run(_gathered, args=(message,))


def _gathered(message: object) -> object:
    import tensorflow as tf

    # Its own copy has a device, which the gathering asks for.
    own = tf.identity(message)
    return tf.distribute.get_replica_context().all_gather(own, axis=0)


def _send(pipes: Pipes, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(pipes.writing, left) :]


def _receive(pipes: Pipes, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        parts += os.read(pipes.reading, count - len(parts))
    return bytes(parts)


def rounds(exchange: Exchange, rank: int, workers: int, size: int, count: int) -> list[float]:
    """Milliseconds of each round, after those to warm up."""
    message, taken = np.full(size, rank, np.uint8), []
    for step in range(count + WARM_UP):
        started = time.perf_counter()
        found = exchange(step, message)
        taken.append(1e3 * (time.perf_counter() - started))
        if found.shape != (workers, size) or (found[:, -1] != np.arange(workers)).any():
            raise SystemExit(f"process {rank} got something else")
    return taken[WARM_UP:]


def way_of(given: argparse.Namespace, others: list[Pipes]) -> Exchange:
    if given.way == "tf.distribute":
        return Distributed(given.workers)
    if given.way == "pipes":
        return ThroughPipes(given.rank, others, given.workers)
    wire = Wire(given.file, given.workers, given.size, is_new=given.rank == 0)
    return SharedMemory(given.rank, others, wire)


def led(given: argparse.Namespace) -> list[float]:
    """The times of process 0, which starts the others."""
    ports = _free_ports(given.workers)
    exchange_first = way_of(given, []) if given.way == "shared memory" else None
    started = [_started(given, rank, ports) for rank in range(1, given.workers)]
    others = [Pipes(one.stdout.fileno(), one.stdin.fileno()) for one in started]  # type: ignore[union-attr]  # pipes
    os.environ["TF_CONFIG"] = _cluster(ports, 0)
    if isinstance(exchange_first, SharedMemory):
        exchange_first.others = others
    exchange = exchange_first or way_of(given, others)
    try:
        return rounds(exchange, 0, given.workers, given.size, given.rounds)
    finally:
        for one in started:
            one.kill()
            one.wait()


def _started(given: argparse.Namespace, rank: int, ports: list[int]) -> "subprocess.Popen[bytes]":
    asked = {
        "--way": given.way,
        "--rank": rank,
        "--workers": given.workers,
        "--rounds": given.rounds,
        "--file": given.file,
    }
    words = [str(word) for pair in asked.items() for word in pair]
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.numbers.exchange", str(given.size), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        env={**os.environ, "TF_CONFIG": _cluster(ports, rank)},
    )


def _cluster(ports: list[int], rank: int) -> str:
    hosts = [f"localhost:{port}" for port in ports]
    return json.dumps({"cluster": {"worker": hosts}, "task": {"type": "worker", "index": rank}})


def _free_ports(count: int) -> list[int]:
    found = [socket.socket() for _ in range(count)]
    for one in found:
        one.bind(("localhost", 0))
    ports = [one.getsockname()[1] for one in found]
    for one in found:
        one.close()
    return ports


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--way", choices=WAYS)
    parser.add_argument("--rank", type=int, default=0)
    parser.add_argument("size", type=int, help="bytes of a message")
    parser.add_argument("--file", type=Path)
    given = parser.parse_args()
    if given.rank:
        others = [Pipes(reading=0, writing=1)]
        rounds(way_of(given, others), given.rank, given.workers, given.size, given.rounds)
        return
    table = Table("bytes", *WAYS, title=f"ms to exchange among {given.workers} processes")
    with tempfile.TemporaryDirectory() as folder:
        given.file = Path(folder) / "wire.bin"
        found = []
        for way in WAYS:
            given.way = way
            found.append(f"{median(led(given)):.2f}")
        table.add_row(str(given.size), *found)
    Console().print(table)


if __name__ == "__main__":
    main()
