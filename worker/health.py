"""`python -m worker.health`: exits with 0 if this host's worker was seen lately, else with 1."""

import socket
import sys
from datetime import UTC, datetime

from app.database.engine import Database
from app.jobs.presence import WorkerPresence
from app.settings import Settings

# A worker says that it lives at every round of its reaper; one may be late, three are not.
ROUNDS = 4


def was_seen(settings: Settings, host: str, now: datetime) -> bool:
    """Whether a worker of `host` lives; a worker is named `<host>-<pid>-<token>`."""
    presence = WorkerPresence(Database(settings.resolved_database_url))
    live = presence.live_workers(now, ROUNDS * settings.reap_s)
    return any(worker.name.rsplit("-", 2)[0] == host for worker in live)


def main() -> int:
    return (
        0 if was_seen(Settings.from_environment(), socket.gethostname(), datetime.now(UTC)) else 1
    )


if __name__ == "__main__":
    sys.exit(main())
