"""What readiness looks at: database, broker, blob store, a live worker, the boxes of both sides."""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial

from kombu.connection import Connection
from sqlalchemy import text

from app.api.readiness import Check
from app.blobs.store import BlobStore
from app.database.engine import Database
from app.errors import Unavailable
from app.jobs.presence import Standing, WorkerPresence
from app.uploads.box import InspectorBox

BROKER_TIMEOUT_S = 2
# Workers say that they live every few seconds.
WORKER_SEEN_S = 30
# What is allowed, and not to be overlooked.
NOT_INSPECTED = "OFF: UPLOADS ARE NOT INSPECTED (PENJING_INSPECT_UPLOADS=0)"
READ_UNCONFINED = (
    "UNCONFINED: UPLOADS ARE READ WITH THE API'S OWN RIGHTS (PENJING_ALLOW_UNCONFINED=1)"
)
UNCONFINED = "UNCONFINED: JOBS RUN WITH THE WORKER'S OWN RIGHTS (PENJING_ALLOW_UNCONFINED=1)"
ALARMS = (READ_UNCONFINED, UNCONFINED, NOT_INSPECTED)


def make_checks(
    database: Database,
    broker_url: str,
    blobs: BlobStore,
    presence: WorkerPresence,
    clock: Callable[[], datetime],
    inspection: Check,
) -> Mapping[str, Check]:
    """Each by its name in `/readyz`; each waits for what it looks at, so it needs a thread.

    Args:
        inspection: `check_inspection` of the box, or `check_nothing_of_uploads`.
    """
    return {
        "inspection": inspection,
        "database": partial(check_database, database),
        "broker": partial(check_broker, broker_url),
        "blob_store": partial(check_blob_store, blobs),
        "worker": partial(check_worker, presence, clock),
        "confinement": partial(check_confinement, presence, clock),
    }


def check_nothing_of_uploads() -> str:
    """Where inspection is switched off, so that nobody overlooks it."""
    return NOT_INSPECTED


def check_inspection(box: InspectorBox) -> str:
    """Raises: Unavailable where the API's own box does not hold, and has to."""
    if box.holds():
        return "every inspection is confined"
    if box.allows_unconfined:
        return READ_UNCONFINED
    raise Unavailable(
        "this machine cannot confine the process that reads uploads; the log of the API and "
        "`penjing doctor` say what is missing"
    )


def check_database(database: Database) -> str:
    with database.read() as connection:
        connection.execute(text("SELECT 1"))
    return "answers"


def check_broker(broker_url: str) -> str:
    options = {"socket_connect_timeout": BROKER_TIMEOUT_S, "socket_timeout": BROKER_TIMEOUT_S}
    with Connection(broker_url, transport_options=options) as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, timeout=BROKER_TIMEOUT_S)
    return "answers"


def check_blob_store(blobs: BlobStore) -> str:
    """Write and drop one byte.

    Raises: StorageFull, StoreUnwritable.
    """
    with blobs.writer() as writer:
        writer.write(b"\0")
        writer.flush_to_disk()
    return "writable"


def check_worker(presence: WorkerPresence, clock: Callable[[], datetime]) -> str:
    """Raises: Unavailable."""
    live = presence.live_workers(clock(), WORKER_SEEN_S)
    if not live:
        raise Unavailable(f"no worker was seen in the last {WORKER_SEEN_S} s")
    return f"{len(live)} seen in the last {WORKER_SEEN_S} s"


def check_confinement(presence: WorkerPresence, clock: Callable[[], datetime]) -> str:
    """Raises: Unavailable where no worker can confine its jobs, or one does not say if it does."""
    live = presence.live_workers(clock(), WORKER_SEEN_S)
    silent = [worker.token for worker in live if worker.standing is Standing.UNKNOWN]
    if silent:
        raise Unavailable(
            f"the worker {silent[0]!r} does not say whether it confines its jobs",
            hint="It is of an older version: end it, or bring it up to date.",
        )
    taking = {worker.standing for worker in live} - {Standing.TAKES_NONE}
    if not taking:
        raise Unavailable("no worker is there that can confine its jobs; its log says why")
    if Standing.UNCONFINED in taking:
        return UNCONFINED
    return "every job is confined"
