"""Does the box hold here? Asked by every worker as it starts, and by `penjing doctor`.

    python -m worker.selftest [folder to try it in]

A real process in the real box tries what must fail there and what must work. One that reads a file
it was not given, or cannot read its own, is no box: the worker takes no jobs.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from stat import S_IXOTH

from app.confinement import (
    CANNOT_CONFINE,
    STANDING,
    BoxOrder,
    Confinement,
    boxed,
    environment,
    libraries,
)
from worker.probe import Targets

LIMIT_S = 30
CONFINEMENT = Confinement(
    memory_bytes=2**28, file_bytes=2**20, open_files=64, tasks=16, readable=(), writable=()
)
WHOSE = {
    "own": "a user of its own",
    "root": "root's number with none of its rights",
    "shared": "the user that starts it",
}
# Starts the probe, having written how far the box holds on a line of its own.
PROGRAM = (
    f"import os, sys; print(os.environ[{STANDING!r}], flush=True); "
    "os.execv(sys.executable, [sys.executable, '-m', 'worker.probe', sys.argv[1]])"
)


@dataclass(frozen=True)
class BoxReport:
    """What the self-test found.

    Attributes:
        failed: what was otherwise than it must be, in words; the box holds if nothing was.
        lacking: what is left to fewer layers here, in words.
        user: under whose number a boxed process runs; empty if none could be started.
        landlock_abi: which edition of Landlock restricts files.
        closed: what no user of its own gets through to, where root could have given it one.
    """

    failed: tuple[str, ...]
    lacking: tuple[str, ...] = ()
    user: str = ""
    landlock_abi: int = 0
    closed: str = ""

    @property
    def holds(self) -> bool:
        return not self.failed

    def in_words(self) -> str:
        if not self.holds:
            return f"the box does not hold: {'; '.join(self.failed)}"
        how = f"it holds, with Landlock {self.landlock_abi} and {WHOSE[self.user]}"
        return "; ".join((how, *([self.closed_in_words()] if self.closed else []), *self.lacking))

    def closed_in_words(self) -> str:
        return (
            f"a user of its own for each process would part them better, but {self.closed} is "
            "closed to it: let others go through (chmod o+x), or use another folder"
        )


def self_test(
    folder: Path,
    readable: tuple[str, ...] = (),
    newest_abi: int | None = None,
    *,
    has_filter: bool = True,
) -> BoxReport:
    """Try it in a new folder inside `folder`, which is gone afterwards.

    Args:
        folder: where the worker keeps its jobs: what holds there holds for them.
        readable: what they all may read.
        newest_abi: Landlock's edition at most; for tests.
        has_filter: False leaves out the filter of system calls; for tests.
    """
    with _targets(folder) as targets:
        files = (targets.input, *readable)
        confinement = replace(CONFINEMENT, readable=files, writable=(targets.folder,))
        order = BoxOrder(confinement, os.getpid(), libraries(), newest_abi, has_filter)
        program = [sys.executable, "-c", PROGRAM, targets.as_json()]
        try:
            ended = subprocess.run(
                boxed(order, program),
                env=environment(targets.folder),
                cwd=targets.folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=LIMIT_S,
                start_new_session=True,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return BoxReport((f"a process in it said nothing within {LIMIT_S} s",))
        return _report(ended)


def _report(ended: "subprocess.CompletedProcess[str]") -> BoxReport:
    if ended.returncode == CANNOT_CONFINE:
        return BoxReport((json.loads(ended.stderr.splitlines()[-1])["cannot_confine"],))
    lines = ended.stdout.splitlines()
    if ended.returncode != 0 or len(lines) != 2:
        last = (ended.stderr.splitlines() or ["nothing"])[-1]
        return BoxReport((f"a process in it ended with status {ended.returncode}: {last}",))
    standing, findings = json.loads(lines[0]), json.loads(lines[1])
    return BoxReport(
        tuple(findings),
        tuple(standing["lacking"]),
        standing["user"],
        standing["landlock_abi"],
        closed_part(standing["closed"]),
    )


def closed_part(path: str) -> str:
    """The first folder on the way to it that others may not go through, or itself."""
    way = reversed(Path(path).parents)
    return next((str(folder) for folder in way if not folder.stat().st_mode & S_IXOTH), path)


@contextmanager
def _targets(parent: Path) -> Iterator[Targets]:
    folder = Path(tempfile.mkdtemp(prefix="box-", dir=parent))
    folder.chmod(0o711)  # a user of its own has to get through
    try:
        with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as unix:
            tcp.bind(("127.0.0.1", 0))
            tcp.listen()
            _bind_in(unix, folder, "s")
            unix.listen()
            yield _made(folder, tcp.getsockname()[1])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _bind_in(unix: socket.socket, folder: Path, name: str) -> None:
    """By way of /proc: the path of a socket may have no more than 107 bytes."""
    place = os.open(folder, os.O_PATH)
    try:
        unix.bind(f"/proc/self/fd/{place}/{name}")
    finally:
        os.close(place)


def _made(folder: Path, port: int) -> Targets:
    own = folder / "own"
    own.mkdir()
    for name in ("input", "canary"):
        (folder / name).write_bytes(b"unchanged")
        (folder / name).chmod(0o644)
    return Targets(
        input=str(folder / "input"),
        folder=str(own),
        canary=str(folder / "canary"),
        port=port,
        socket=str(folder / "s"),
        program=shutil.which("true") or "/bin/true",
    )


def main(arguments: list[str]) -> None:
    with tempfile.TemporaryDirectory(dir=arguments[0] if arguments else None) as folder:
        Path(folder).chmod(0o711)
        report = self_test(Path(folder))
    words = {"holds": report.holds, "words": report.in_words()}
    sys.stdout.write(json.dumps(asdict(report) | words) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
