"""The stack of one home: broker, worker and API, with state in one folder."""

import errno
import importlib.util
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from app.client.credentials import without_key
from app.confinement import PASSABLE, ensure_folder
from app.embedded.broker import (
    find_server,
    make_private,
    missing_from_broker,
    private_socket,
    server_command,
)
from app.embedded.errors import StackNotStarted
from app.embedded.lock import RunningStack, hold, publish, state_file
from app.embedded.part import PartSpec
from app.embedded.signals import StopSignals
from app.embedded.supervisor import Pids, Say, Supervisor
from app.settings import Settings, socket_url

PRIVATE, KEPT_FROM_OTHERS = 0o700, 0o077
START_LIMIT_S = 120.0
API_GRACE_S = 8.0
BROKER_GRACE_S = 8.0
# Beyond the grace it gives its jobs, a worker needs a moment to hand them back.
WORKER_MARGIN_S = 10.0
BACKLOG = 512
READINESS_TIMEOUT_S = 1.0
# How a worker logs that it takes no jobs, because it cannot confine them.
NO_BOX, TAKES_NONE = "box.missing", "takes_none"


@dataclass(frozen=True)
class Stack:
    """What to bring up: everything in `home`, answering at `host`:`port` (0 = any free port).

    Without a worker it is the API alone, which is all it takes to read. `stop_hint` is told beside
    what is waited for at the end.
    """

    home: Path
    host: str
    port: int
    has_worker: bool = True
    stop_hint: str = ""

    def run(
        self, environment: Mapping[str, str], say: Say, on_ready: Callable[[RunningStack], None]
    ) -> None:
        """Bring it up, keep it up until SIGTERM or SIGINT, stop it in order. Main thread only.

        Raises: HomeInUse, StackNotStarted.
        """
        open_home(self.home)
        os.umask(KEPT_FROM_OTHERS)
        with hold(self.home), listening(self.host, self.port) as listener, StopSignals() as signals:
            url = f"http://{_authority(self.host, listener.getsockname()[1])}"
            supervisor = Supervisor(
                parts(self.home, environment, listener, url, has_worker=self.has_worker),
                self.home / "logs",
                signals,
                say,
                on_change=lambda pids: self._publish(_note(url, pids), say),
                stop_hint=self.stop_hint,
            )
            try:
                if supervisor.start(START_LIMIT_S):
                    on_ready(_note(url, {}))
                    supervisor.watch()
            finally:
                supervisor.stop()

    def _publish(self, stack: RunningStack, say: Say) -> None:
        """Not being found is bad, being down is worse: a full disk is told and borne."""
        try:
            publish(self.home, stack)
        except OSError as error:
            say(f"cannot write {state_file(self.home)}: {error.strerror}")


def open_home(home: Path) -> None:
    """Make the folder, for this user alone, or take it as it is.

    Root's jobs have users of their own. Those get through the folder to theirs; everything else in
    it is for root alone.

    Raises: StackNotStarted if it cannot be used.
    """
    try:
        ensure_folder(home, PASSABLE if os.getuid() == 0 else PRIVATE)
    except OSError as error:
        raise _unusable(home, error.strerror or "cannot be made") from error
    if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        raise _unusable(home, "it cannot be written")


def _unusable(home: Path, why: str) -> StackNotStarted:
    return StackNotStarted(
        f"{home} cannot hold the state of the service: {why}",
        hint="Choose another folder with --home or PENJING_HOME.",
    )


def require_engine() -> None:
    """Raises: StackNotStarted where only the API and the command line were installed."""
    if importlib.util.find_spec("tensorflow") is None:
        raise StackNotStarted(
            "a stack needs a worker, and a worker needs TensorFlow, which is not installed here",
            hint="pip install 'penjing[worker,embedded]', or use a service elsewhere with --url.",
        )


def parts(
    home: Path,
    environment: Mapping[str, str],
    listener: socket.socket,
    url: str,
    *,
    has_worker: bool,
) -> list[PartSpec]:
    """The parts in the order they are started in.

    Raises: StackNotStarted if something they need is not installed, Malformed if a setting is.
    """
    environment = without_key(environment)
    settings = Settings.from_environment({**environment, "PENJING_HOME": str(home)})
    broker_url = settings.broker_url or socket_url(private_socket(home))
    shared = {
        **environment,
        "PENJING_HOME": str(home),
        "PENJING_BROKER_URL": broker_url,
        "PYTHONUNBUFFERED": "1",
    }
    if not has_worker:
        return [api_part(listener, shared, lambda: missing_from(f"{url}/livez"))]
    require_engine()
    broker = None if settings.broker_url else broker_part(home, environment)
    # By its own word: database, broker, blob store, a live worker.
    api = api_part(listener, shared, lambda: missing_from(f"{url}/readyz"))
    return [*([broker] if broker else []), worker_part(settings, shared), api]


def worker_part(settings: Settings, environment: Mapping[str, str]) -> PartSpec:
    return PartSpec(
        name="worker",
        command=(
            # Quiet: its banner is no line of JSON.
            *(sys.executable, "-m", "celery", "--quiet", "--app", "worker.celery_app", "worker"),
            *("--pool", "threads", "--concurrency", str(settings.worker_concurrency)),
            *("--loglevel", "INFO", "--without-gossip", "--without-mingle"),
        ),
        environment=environment,
        grace_s=settings.shutdown_grace_s + WORKER_MARGIN_S,
        hopeless=cannot_confine,
    )


def cannot_confine(output: bytes) -> StackNotStarted | None:
    """What a worker wrote, if it is that no job will ever run here."""
    for line in output.splitlines():
        with suppress(ValueError, LookupError, TypeError):
            record = json.loads(line)
            if record["event"] == NO_BOX and record["jobs"] == TAKES_NONE:
                return StackNotStarted(
                    f"this machine cannot confine jobs: {record['why']}",
                    hint="`penjing doctor` says more. PENJING_ALLOW_UNCONFINED=1 starts all the "
                    "same; jobs then have the service's own rights, so take none of strangers.",
                )
    return None


def api_part(
    listener: socket.socket, environment: Mapping[str, str], missing: Callable[[], str | None]
) -> PartSpec:
    return PartSpec(
        name="api",
        command=(sys.executable, "-m", "app.serve", "--fd", str(listener.fileno())),
        environment=environment,
        grace_s=API_GRACE_S,
        missing=missing,
        inherited_fds=(listener.fileno(),),
    )


def broker_part(home: Path, environment: Mapping[str, str]) -> PartSpec:
    data = home / "broker"
    make_private(data)
    socket_path = private_socket(home)
    return PartSpec(
        name="broker",
        command=server_command(find_server(), socket_path, data),
        environment=environment,
        grace_s=BROKER_GRACE_S,
        missing=lambda: missing_from_broker(socket_path),
    )


def missing_from(url: str) -> str | None:
    """What the service says it lacks at this address; None = nothing."""
    try:
        answer = httpx.get(url, timeout=READINESS_TIMEOUT_S, trust_env=False)
    except httpx.HTTPError:
        return "it does not answer"
    return None if answer.is_success else _failing(answer)


def _failing(answer: httpx.Response) -> str:
    """The checks that fail, in words."""
    with suppress(ValueError, LookupError, TypeError, AttributeError):
        checks = answer.json()["checks"].items()
        return "; ".join(
            f"{name}: {check['detail']}" for name, check in checks if check["status"] != "ok"
        )
    return answer.text


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """The API's socket.

    Raises: StackNotStarted if the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise StackNotStarted(
            f"cannot listen on {host} port {port}: {_in_words(error)}",
            hint="Choose another one with --port, or --port 0 for any free port.",
        ) from error
    with listener:
        yield listener


def _in_words(error: OSError) -> str:
    """Names that are not found have negative numbers, which the system has no words for."""
    number = error.errno or errno.EINVAL
    return "there is no such address" if number < 0 else os.strerror(number)


def _authority(host: str, port: int) -> str:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - read, not bound
    return f"[{reachable}]:{port}" if ":" in reachable else f"{reachable}:{port}"


def _note(url: str, pids: Pids) -> RunningStack:
    return RunningStack(url=url, pid=os.getpid(), parts=dict(pids))
