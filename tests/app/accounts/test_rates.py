"""Rates: n a minute and not one more, in the broker's store as in memory, each key by itself."""

import asyncio
import signal
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from app.accounts import rates
from app.accounts.rates import (
    STORE_TIMEOUT_S,
    BrokerRates,
    MemoryRates,
    Rate,
    RateDecision,
    RateStore,
    rates_of,
    redis_url,
)
from tests.app.jobs.test_queue import Broker
from tests.fakes import FakeClock

pytestmark = pytest.mark.anyio

RATE = Rate("requests", 5)
# A store that is there may take its time: on a busy machine nothing is counted elsewhere for it.
PATIENT_S = 30.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with tempfile.TemporaryDirectory(prefix="penjing-") as folder:
        broker = Broker(Path(folder))
        try:
            yield broker
        finally:
            broker.kill()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["memory", "broker"])
async def store(
    request: pytest.FixtureRequest, clock: FakeClock, broker: Broker
) -> AsyncIterator[RateStore]:
    def now_us() -> int:
        return int(clock().timestamp() * 1e6)

    if request.param == "memory":
        yield MemoryRates(now_us)
        return
    store = BrokerRates(broker.url, now_us, request.node.name, PATIENT_S)
    try:
        yield store
    finally:
        await store.close()


async def take(store: RateStore, key: str = "key_1", rate: Rate = RATE) -> RateDecision:
    return RateDecision.of(rate, await store.take(key, rate))


async def test_n_may_come_at_once_and_not_one_more(store: RateStore) -> None:
    taken = [await take(store) for _ in range(6)]
    assert [one.is_allowed for one in taken] == [True] * 5 + [False]
    assert [one.remaining for one in taken] == [4, 3, 2, 1, 0, 0]
    assert [one.reset_s for one in taken] == [12, 24, 36, 48, 60, 60]
    assert [one.retry_after_s for one in taken] == [0, 0, 0, 0, 0, 12]


async def test_the_next_one_may_come_when_it_was_told_to(
    store: RateStore, clock: FakeClock
) -> None:
    for _ in range(5):
        await take(store)
    clock.advance(11.999)
    assert not (await take(store)).is_allowed
    clock.advance(0.001)
    assert (await take(store)).is_allowed
    assert not (await take(store)).is_allowed


async def test_a_minute_of_rest_gives_all_of_them_again(store: RateStore, clock: FakeClock) -> None:
    for _ in range(50):
        await take(store)
    clock.advance(60)
    assert [(await take(store)).is_allowed for _ in range(6)] == [True] * 5 + [False]


async def test_keys_do_not_share_what_they_have(store: RateStore) -> None:
    for _ in range(6):
        await take(store)
    assert (await take(store, "key_2")).remaining == 4


@pytest.mark.parametrize("per_minute", [1, 7, 600, 10_000])
async def test_rate_is_exact_where_a_minute_does_not_divide(
    store: RateStore, per_minute: int
) -> None:
    rate = Rate("requests", per_minute)
    if per_minute > 1000:
        room = RateDecision.of(rate, await store.take("key_1", rate))
        assert room.remaining == per_minute - 1
        return
    allowed = [(await take(store, "key_1", rate)).is_allowed for _ in range(per_minute + 1)]
    assert allowed == [True] * per_minute + [False]


async def test_exactly_n_of_many_at_the_same_moment_pass(broker: Broker) -> None:
    """By the store's own clock, as two processes of the API ask it."""
    stores = [BrokerRates(broker.url, prefix="many", timeout_s=PATIENT_S) for _ in range(2)]
    rate = Rate("requests", 10)
    rooms = await asyncio.gather(*(stores[number % 2].take("key_1", rate) for number in range(40)))
    assert sum(room >= 0 for room in rooms) == 10
    for store in stores:
        await store.close()


async def test_requests_are_counted_here_when_the_store_is_away(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "STORE_PAUSE_S", 600.0)
    store = BrokerRates("redis+socket:///nowhere/broker.sock")
    taken = [await take(store) for _ in range(6)]
    await store.close()
    assert [one.is_allowed for one in taken] == [True] * 5 + [False]
    assert [record.message for record in caplog.records] == ["rates.store_away"]


async def test_store_that_is_late_is_waited_for_as_long_as_was_said(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    store = BrokerRates(broker.url, prefix="late", timeout_s=PATIENT_S)
    going_on = threading.Timer(2 * STORE_TIMEOUT_S, broker.process.send_signal, [signal.SIGCONT])
    broker.process.send_signal(signal.SIGSTOP)
    going_on.start()
    assert (await take(store)).is_allowed
    going_on.join()
    await store.close()
    assert caplog.messages == []


async def test_store_that_does_not_answer_keeps_nobody_waiting_twice(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "STORE_PAUSE_S", 600.0)
    gone: list[asyncio.Event] = []

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_gone = asyncio.Event()
        gone.append(is_gone)
        await reader.read()
        writer.close()
        await writer.wait_closed()
        is_gone.set()

    with tempfile.TemporaryDirectory(prefix="penjing-") as folder:
        server = await asyncio.start_unix_server(silent, Path(folder) / "b.sock")
        store = BrokerRates(f"redis+socket://{folder}/b.sock")
        for _ in range(20):
            await take(store)
        await store.close()
        # A loop that ends before them would leave their ends of the connections open.
        for is_gone in gone:
            await is_gone.wait()
        server.close()
        await server.wait_closed()
    assert caplog.messages == ["rates.store_away"]


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("redis://:p%40w@h:1/0", "redis://:p%40w@h:1/0"),
        ("redis+socket:///a/b%20c.sock", "unix:/a/b%20c.sock"),
        ("redis+socket://:pw@/a.sock?virtual_host=2", "unix://:pw@/a.sock?db=2"),
        ("rediss://h/0?ssl_cert_reqs=CERT_REQUIRED", "rediss://h/0?ssl_cert_reqs=required"),
    ],
)
def test_broker_url_is_read_as_celery_means_it(given: str, read: str) -> None:
    assert redis_url(given) == read


def test_sentinels_are_not_asked(caplog: pytest.LogCaptureFixture) -> None:
    assert isinstance(rates_of("sentinel://a:1"), MemoryRates)
    assert "rates.store_unknown" in caplog.messages


def test_no_rate_is_so_high_that_one_costs_nothing() -> None:
    rate = Rate("requests", 10**9)
    assert RateDecision.of(rate, 60_000_000 - rate.cost_us).is_allowed
