"""What `penjing doctor` looks at: one function a check, each with what to do about it."""

import importlib.metadata
import os
import platform
import shutil
import socket
import sys
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from app.client import Client
from app.embedded.broker import MAX_SOCKET_PATH_BYTES, SOCKET_NAME, find_server
from app.embedded.lock import is_locked, running_stack
from app.errors import PenjingError
from app.reports.figures import bytes_text
from app.uploads.box import SELF_TEST, try_box

OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 13)
TENSORFLOWS = ("tensorflow-cpu", "tensorflow")
ENGINE_PACKAGES = ("keras", "ai-edge-litert", "litert-quantizer")
ENOUGH_DISK_BYTES, LITTLE_DISK_BYTES = 5 * 2**30, 2**30
ENOUGH_MEMORY_BYTES = 3 * 2**30
NO_BOX = (
    "Uploads are programs: without the box nothing is inspected and no job runs here. "
    "PENJING_ALLOW_UNCONFINED=1 does it all the same, with the rights of the service."
)
OWN_USER = "See whose number jobs run under in SECURITY.md; or start the service not as root."
LESS_OF_A_BOX = "A newer kernel, or a user that is not root, adds what is lacking."
INSTALL_WORKER = "pip install 'penjing[worker]' (make install does it)."


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    status: Literal["ok", "warn", "fail"]
    found: str
    advice: str | None = None

    def as_json(self) -> dict[str, str | None]:
        return asdict(self)


def all_findings(home: Path, host: str, port: int) -> list[Finding]:
    """Every check; none of them changes anything."""
    return [
        python(),
        tensorflow(),
        *(engine_package(name) for name in ENGINE_PACKAGES),
        cpu(Path("/proc/cpuinfo")),
        memory(Path("/proc/meminfo")),
        box(home),
        broker(),
        writable_home(home),
        disk(home),
        socket_path(home),
        stack(home),
        free_port(home, host, port),
    ]


def python() -> Finding:
    found = platform.python_version()
    if OLDEST_PYTHON <= sys.version_info[:2] <= NEWEST_PYTHON:
        return Finding("python", "ok", found)
    return Finding("python", "fail", found, "Use Python 3.11, 3.12 or 3.13: TensorFlow needs it.")


def tensorflow() -> Finding:
    found = [f"{name} {version}" for name in TENSORFLOWS if (version := _version(name))]
    if not found:
        return Finding("tensorflow", "fail", "not installed", INSTALL_WORKER)
    if len(found) > 1:
        advice = "They overwrite each other's files: uninstall both, then install one."
        return Finding("tensorflow", "warn", " and ".join(found), advice)
    return Finding("tensorflow", "ok", found[0])


def engine_package(name: str) -> Finding:
    version = _version(name)
    if version is None:
        return Finding(name, "fail", "not installed", INSTALL_WORKER)
    return Finding(name, "ok", version)


def cpu(cpuinfo: Path) -> Finding:
    """TensorFlow's x86 wheels die with SIGILL on a CPU without AVX."""
    found = f"{platform.machine()}, {os.cpu_count()} cores"
    if platform.machine() not in ("x86_64", "AMD64") or not cpuinfo.exists():
        return Finding("cpu", "ok", found)
    flags = next((ln for ln in cpuinfo.read_text().splitlines() if ln.startswith("flags")), "")
    has = set(flags.split())
    if "avx" not in has:
        return Finding("cpu", "fail", f"{found}, no AVX", "TensorFlow needs a CPU with AVX.")
    fast_int8 = bool(has & {"avx512_vnni", "avx_vnni"})
    return Finding("cpu", "ok", f"{found}, AVX" + (", fast int8 (VNNI)" if fast_int8 else ""))


def memory(meminfo: Path) -> Finding:
    if not meminfo.exists():
        return Finding("memory", "ok", "unknown")
    line = next(ln for ln in meminfo.read_text().splitlines() if ln.startswith("MemAvailable"))
    available = int(line.split()[1]) * 1024
    found = f"{bytes_text(available)} available"
    if available < ENOUGH_MEMORY_BYTES:
        return Finding("memory", "warn", found, "A job takes 1 to 3 GiB; close something.")
    return Finding("memory", "ok", found)


def box(home: Path, module: str = SELF_TEST) -> Finding:
    """Where jobs and inspections will be."""
    trial = try_box(home, module)
    if not trial.holds:
        return Finding("box", "fail", trial.words, NO_BOX)
    if trial.closed:
        return Finding("box", "warn", trial.words, OWN_USER)
    if trial.lacking:
        return Finding("box", "warn", trial.words, LESS_OF_A_BOX)
    return Finding("box", "ok", trial.words)


def broker() -> Finding:
    if url := os.environ.get("PENJING_BROKER_URL"):
        # Its scheme alone: the rest may hold a password.
        scheme, separator, _ = url.partition("://")
        return Finding("broker", "ok", f"PENJING_BROKER_URL ({scheme if separator else 'no URL'})")
    try:
        return Finding("broker", "ok", str(find_server()))
    except PenjingError as error:
        return Finding("broker", "fail", "no server found", error.hint)


def writable_home(home: Path) -> Finding:
    place = _nearest_existing(home)
    if place.is_dir() and os.access(place, os.W_OK | os.X_OK):
        return Finding("home", "ok", str(home) if home.exists() else f"{home} (will be made)")
    advice = "Choose another folder with --home or PENJING_HOME."
    return Finding("home", "fail", f"{place} cannot be written", advice)


def disk(home: Path) -> Finding:
    free = shutil.disk_usage(_nearest_existing(home)).free
    found = f"{bytes_text(free)} free"
    if free >= ENOUGH_DISK_BYTES:
        return Finding("disk", "ok", found)
    status: Literal["warn", "fail"] = "warn" if free >= LITTLE_DISK_BYTES else "fail"
    return Finding("disk", status, found, "Uploads and results are kept in the home: make room.")


def socket_path(home: Path) -> Finding:
    path = home / "run" / SOCKET_NAME
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES:
        return Finding("socket", "ok", str(path))
    return Finding("socket", "ok", "the home's path is long: a private temporary folder is used")


def stack(home: Path) -> Finding:
    running = running_stack(home)
    if running is None:
        return Finding("stack", "ok", "starting" if is_locked(home) else "not running")
    found = f"runs at {running.url} (pid {running.pid})"
    try:
        with Client(running.url, timeout=5) as client:
            readiness = client.ready()
    except PenjingError as error:
        return Finding("stack", "fail", f"{found}: {error.detail}", f"Look into {home / 'logs'}.")
    if readiness.is_ready:
        return Finding("stack", "ok", f"{found}, ready")
    missing = [
        f"{name}: {check.detail}"
        for name, check in readiness.checks.items()
        if check.status != "ok"
    ]
    advice = f"Look into {home / 'logs'}."
    return Finding("stack", "fail", f"{found}, not ready ({'; '.join(missing)})", advice)


def free_port(home: Path, host: str, port: int) -> Finding:
    """Taken by this home's own stack is as good as free."""
    running = running_stack(home)
    if running and running.url.endswith(f":{port}"):
        return Finding("port", "ok", f"{port} is used by this home's stack")
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            found = f"{host}:{port}: {os.strerror(error.errno or 0)}"
            return Finding("port", "warn", found, "Give `penjing up` another --port.")
    return Finding("port", "ok", f"{host}:{port} is free")


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _nearest_existing(path: Path) -> Path:
    return next(parent for parent in (path, *path.parents) if parent.exists())
