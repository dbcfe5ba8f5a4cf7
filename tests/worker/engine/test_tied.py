"""A tied process ends with its starter's thread, where it may be sent no signal."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from worker.engine.tied import TiedProcess

TIED = (
    "import os, signal, time; from app.processes import die_with_parent; "
    "die_with_parent(os.getppid(), signal.SIGKILL); print(flush=True); time.sleep(600)"
)
NOT_YET = "import sys; print(flush=True); sys.stdin.read(); sys.exit(7)"


@pytest.mark.skipif(sys.platform != "linux", reason="only there it ends with a thread")
@pytest.mark.parametrize(("script", "status"), [(TIED, -signal.SIGKILL), (NOT_YET, 7)])
def test_process_ends_though_no_signal_may_be_sent(
    script: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tied = started(script)
    monkeypatch.setattr(tied.process, "kill", refused)
    tied.end()
    assert tied.process.returncode == status


def test_process_that_has_ended_keeps_its_status() -> None:
    tied = started("print(flush=True); raise SystemExit(3)")
    tied.process.wait()
    tied.end()
    tied.end()
    assert tied.process.returncode == 3


def test_what_cannot_be_started_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        TiedProcess([str(tmp_path / "missing")])


def started(script: str) -> TiedProcess:
    """From its first word on."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    path = os.pathsep.join(sys.path)
    tied = TiedProcess([sys.executable, "-c", script], **pipes, env={"PYTHONPATH": path})
    assert tied.process.stdout is not None
    tied.process.stdout.readline()
    return tied


def refused() -> None:
    raise PermissionError
