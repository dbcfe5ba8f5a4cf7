"""Everybody who waits for news of a job: looked up for all of them at once, so many at a time.

One round asks for all watched jobs and for all keys that watch, in a query each, and wakes those
whose job has moved. Only they read, so that who waits for what does not happen costs nothing.
Downloads that run are looked after in the same rounds: they end with the key that asked for them.
"""

import asyncio
import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import anyio
import anyio.to_thread

from app.accounts.errors import TooManyStreams
from app.accounts.principal import Principal
from app.accounts.service import AccountService
from app.jobs.service import JobService
from app.jobs.versions import JobVersion

log = logging.getLogger(__name__)

POLL_S = 0.25
MOST_WATCHES = 256
MOST_OF_ONE = 32
RETRY_AFTER_S = 5.0


@dataclass(eq=False)
class Watch:
    """One who waits. What it is woken by, it reads itself: a wake says no more than "look again".

    It takes its own look after `rest`; what moves from then on wakes it, so that nothing that
    happens between two looks is missed.
    """

    principal: Principal
    job_id: str
    is_for_events: bool
    is_key_good: bool = True
    _seen: object = None
    _moved: asyncio.Event = field(default_factory=asyncio.Event)

    def rest(self) -> None:
        self._moved.clear()

    def wake(self) -> None:
        self._moved.set()

    async def is_woken(self, within_s: float) -> bool:
        """Whether there may be news, as soon as there may be."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._moved.wait(), max(0.0, within_s))
        return self._moved.is_set()

    def hear(self, version: JobVersion | None, *, is_key_good: bool) -> None:
        """What one round found of the job and of the key."""
        self.is_key_good = is_key_good
        told = (
            (version.event_count, version.is_final) if version and self.is_for_events else version
        )
        if told != self._seen or not is_key_good:
            self._seen = told
            self.wake()


class Watcher:
    """Those who wait in this process, and the one task that looks for them while there are any."""

    def __init__(self, accounts: AccountService, jobs: JobService) -> None:
        self._accounts = accounts
        self._jobs = jobs
        self._watches: set[Watch] = set()
        # What is sent, and by whose key.
        self._sent: dict[anyio.CancelScope, str] = {}
        self._polling: asyncio.Task[None] | None = None
        # Its own thread: whatever else is busy, who was let in is looked after.
        self._thread = anyio.CapacityLimiter(1)

    def __len__(self) -> int:
        return len(self._watches)

    def begin(self, principal: Principal, job_id: str, *, is_for_events: bool) -> Watch:
        """Let one more in; whoever calls this calls `end`.

        Raises: TooManyStreams.
        """
        same = sum(one.principal.tenant_id == principal.tenant_id for one in self._watches)
        if same >= MOST_OF_ONE:
            raise _too_many(f"this tenant has {same} of them open, and may have {MOST_OF_ONE}")
        if len(self._watches) >= MOST_WATCHES:
            raise _too_many(f"all tenants together have {MOST_WATCHES} of them open; that is all")
        watch = Watch(principal, job_id, is_for_events)
        self._watches.add(watch)
        self._go_on()
        return watch

    def end(self, watch: Watch) -> None:
        self._watches.discard(watch)

    @contextmanager
    def while_key_is_good(self, principal: Principal) -> Iterator[None]:
        """What is awaited inside is broken off, and left, once the key is not good any more."""
        if principal.key_id is None:
            yield
            return
        with anyio.CancelScope() as sending:
            self._sent[sending] = principal.key_id
            self._go_on()
            try:
                yield
            finally:
                del self._sent[sending]

    def is_sending(self) -> bool:
        return bool(self._sent)

    async def close(self) -> None:
        if self._polling is not None:
            self._polling.cancel()
            with suppress(asyncio.CancelledError):
                await self._polling

    def _go_on(self) -> None:
        if self._polling is None or self._polling.done():
            self._polling = asyncio.create_task(self._poll())

    async def _poll(self) -> None:
        while self._watches or self._sent:
            watches = list(self._watches)
            try:
                await self._look_for(watches, dict(self._sent))
            except Exception:
                # Each finds out by its own look, and says so to who waits.
                log.exception("watches.failed")
                for watch in watches:
                    watch.wake()
            await asyncio.sleep(POLL_S)

    async def _look_for(
        self, watches: Collection[Watch], sent: Mapping[anyio.CancelScope, str]
    ) -> None:
        good_keys, versions = await anyio.to_thread.run_sync(
            self._found, watches, set(sent.values()), limiter=self._thread
        )
        for watch in watches:
            key_id = watch.principal.key_id
            is_key_good = key_id is None or key_id in good_keys
            watch.hear(versions.get(watch.job_id), is_key_good=is_key_good)
        for sending, key_id in sent.items():
            if key_id not in good_keys and sending in self._sent:
                log.info("download.broken_off", extra={"key_id": key_id})
                sending.cancel()

    def _found(
        self, watches: Collection[Watch], key_ids: set[str]
    ) -> tuple[set[str], dict[str, JobVersion]]:
        watching = {one.principal.key_id for one in watches if one.principal.key_id is not None}
        placed = {one.job_id for one in watches if not one.is_for_events}
        # Keys last: what was found before a revocation is told to nobody after it.
        job_ids = {one.job_id for one in watches}
        versions = self._jobs.versions(job_ids, placed) if job_ids else {}
        return self._accounts.good_ones(watching | key_ids), versions


def _too_many(detail: str) -> TooManyStreams:
    return TooManyStreams(
        f"event streams and waits are limited at a time: {detail}",
        RETRY_AFTER_S,
        hint="Close some, or read the job without waiting; one stream tells all of a job.",
    )
