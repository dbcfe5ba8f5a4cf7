"""Tries, inside the box, what must fail there and what must work: `worker.selftest` starts it.

    python -m worker.probe '<targets>'

It answers on its standard output, in one line of JSON: what went otherwise than it must, in words.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from worker.engine.tied import TiedProcess

# Says that it is tied, and waits.
HELPER = (
    "import os, signal, time; from app.processes import die_with_parent; "
    "die_with_parent(os.getppid(), signal.SIGKILL); print(flush=True); time.sleep(60)"
)


@dataclass(frozen=True)
class Targets:
    """What there is to try: none of it does harm where it works."""

    input: str
    folder: str
    canary: str
    port: int
    socket: str
    program: str

    def as_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls(**json.loads(text))


def main(arguments: list[str]) -> None:
    targets = Targets.from_json(arguments[0])
    found = [
        *(unless_refused(each, targets) for each in FORBIDDEN),
        *(unless_done(each, targets) for each in NEEDED),
    ]
    findings = [words for words in found if words]
    sys.stdout.write(json.dumps(findings) + "\n")


def read_a_file_outside(targets: Targets) -> None:
    Path(targets.canary).read_bytes()


def write_a_file_outside(targets: Targets) -> None:
    with Path(targets.canary).open("ab") as file:
        file.write(b"changed")


def change_its_input(targets: Targets) -> None:
    with Path(targets.input).open("r+b") as file:
        file.write(b"changed")


def connect_over_tcp(targets: Targets) -> None:
    socket.create_connection(("127.0.0.1", targets.port), timeout=5).close()


def connect_to_a_unix_socket(targets: Targets) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(targets.socket)


def run_another_program(targets: Targets) -> None:
    subprocess.run([targets.program], check=False, stdin=subprocess.DEVNULL)


def read_what_the_kernel_tells_of_processes(_: Targets) -> None:
    Path("/proc/self/cmdline").read_bytes()


def send_its_parent_a_signal(_: Targets) -> None:
    os.kill(os.getppid(), 0)


def leave_its_session(_: Targets) -> None:
    """By a process that leads no group: one that does may not anywhere."""
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
        except OSError as error:
            os._exit(error.errno or 1)
        os._exit(0)
    ended = os.waitpid(child, 0)
    if number := os.waitstatus_to_exitcode(ended[1]):
        raise OSError(number, os.strerror(number))


def read_its_input(targets: Targets) -> None:
    Path(targets.input).read_bytes()


def write_into_its_folder(targets: Targets) -> None:
    made = Path(targets.folder, "made")
    made.write_bytes(b"made")
    made.replace(made.with_name("renamed"))


def import_a_library(_: Targets) -> None:
    import hashlib  # a native module, from where Python keeps its own

    hashlib.sha256(b"").hexdigest()


def end_a_process_that_it_started(_: Targets) -> None:
    tied = TiedProcess([sys.executable, "-c", HELPER], stdout=subprocess.PIPE)
    assert tied.process.stdout is not None, "a pipe"  # for mypy
    tied.process.stdout.readline()
    tied.end()
    if tied.process.returncode != -signal.SIGKILL:
        raise ProcessLookupError(f"it ended with status {tied.process.returncode}")


Attempt = Callable[[Targets], None]
FORBIDDEN: tuple[Attempt, ...] = (
    read_a_file_outside,
    write_a_file_outside,
    change_its_input,
    connect_over_tcp,
    connect_to_a_unix_socket,
    run_another_program,
    read_what_the_kernel_tells_of_processes,
    send_its_parent_a_signal,
    leave_its_session,
)
NEEDED: tuple[Attempt, ...] = (
    read_its_input,
    write_into_its_folder,
    import_a_library,
    end_a_process_that_it_started,
)


def unless_refused(attempt: Attempt, targets: Targets) -> str | None:
    """Only a refusal shows that it is forbidden: what failed for another reason was not tried."""
    try:
        attempt(targets)
    except PermissionError:
        return None
    except OSError as error:
        return f"whether it could {words_for(attempt)} was not to be found out: {error.strerror}"
    return f"it could {words_for(attempt)}"


def unless_done(attempt: Attempt, targets: Targets) -> str | None:
    try:
        attempt(targets)
    except (OSError, ImportError):
        return f"it could not {words_for(attempt)}"
    return None


def words_for(attempt: Attempt) -> str:
    return attempt.__name__.replace("_", " ")


if __name__ == "__main__":
    main(sys.argv[1:])
