"""What a dead worker's child left running is ended; what only has its number by now is not."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.faults.conftest import wait_until
from worker.session_usage import use_of_session
from worker.sessions import Session

# A leader that waits, and a process that it forked; both say so.
PROGRAM = "import os, sys; os.fork(); os.write(1, b'.'); sys.stdin.read()"
BOXED = f"""
import ctypes, struct
libc = ctypes.CDLL(None)
libc.prctl(38, 1, 0, 0, 0)
allow = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0x7FFF0000))
filter = ctypes.create_string_buffer(struct.pack("@HP", 1, ctypes.addressof(allow)))
assert libc.prctl(22, 2, filter, 0, 0) == 0
{PROGRAM}
"""


@pytest.fixture
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    command = [sys.executable, "-c", request.param]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.read(2) == b".."
        found = Session.of(process.pid)
        assert found is not None
        yield found
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def end_leader(session: Session) -> None:
    """And have it waited for, as whoever inherits it does."""
    os.kill(session.leader, signal.SIGKILL)
    os.waitpid(session.leader, 0)


def is_left(session: Session) -> bool:
    return use_of_session(session.leader).resident_bytes > 0


@pytest.mark.parametrize("session", [PROGRAM], indirect=True)
def test_session_is_ended_with_its_leader(session: Session, tmp_path: Path) -> None:
    session.write(tmp_path / "session")

    found = Session.read(tmp_path / "session")

    assert found == session
    found.end()
    assert not is_left(session)


@pytest.mark.parametrize("session", [BOXED], indirect=True)
def test_what_a_boxed_leader_left_is_ended(session: Session) -> None:
    end_leader(session)
    assert is_left(session)

    session.end()

    assert not is_left(session)


@pytest.mark.parametrize("session", [PROGRAM], indirect=True)
@pytest.mark.parametrize(
    "change",
    [{"started": 1}, {"place": "another kernel"}],
    ids=["began at another time", "was of another place"],
)
def test_number_alone_ends_nothing(session: Session, change: dict[str, object]) -> None:
    replace(session, **change).end()  # type: ignore[arg-type]

    assert is_left(session)


@pytest.mark.parametrize("session", [PROGRAM], indirect=True)
def test_what_is_in_no_box_is_not_ended_without_its_leader(session: Session) -> None:
    end_leader(session)

    session.end()

    assert is_left(session)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"leader": 1}'])
def test_half_written_record_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "session").write_text(text)

    assert Session.read(tmp_path / "session") is None
    assert Session.read(tmp_path / "none") is None


def test_dead_leader_has_no_record() -> None:
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    wait_until(lambda: Session.of(process.pid) is None, "it is gone")
