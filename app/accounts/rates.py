"""How often something may be done: counted in the broker's store, for all API processes together.

GCRA, the leaky bucket as one number a key: the moment at which all that was done so far would have
been paid for, each thing costing its share of a minute. Whoever is more than a minute ahead waits.
One round trip, no list of moments, and n things may come at once where n a minute are allowed.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Protocol
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from redis.asyncio import Redis
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

SPAN_US = 60_000_000
STORE_TIMEOUT_S = 0.25
# A store that failed is not asked again for this long: nobody waits for it twice.
STORE_PAUSE_S = 5.0
MOST_KEPT = 10_000

# KEYS[1]: the moment in microseconds. ARGV: the span, the cost of one, now (0 = the store's clock).
TAKE = """
local span, cost, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local paid = math.max(now, tonumber(redis.call('GET', KEYS[1]) or '0')) + cost
local room = now + span - paid
if room >= 0 then
  redis.call('SET', KEYS[1], string.format('%.0f', paid), 'PX', math.ceil((paid - now) / 1000))
end
return room
"""


@dataclass(frozen=True)
class Rate:
    """So many a minute; `name` is what is counted."""

    name: str
    per_minute: int

    @property
    def cost_us(self) -> int:
        return max(1, SPAN_US // self.per_minute)


@dataclass(frozen=True)
class RateDecision:
    """Whether one more was within the rate, and how many more would be."""

    rate: Rate
    is_allowed: bool
    remaining: int
    reset_s: int
    retry_after_s: int

    @classmethod
    def of(cls, rate: Rate, room_us: int) -> "RateDecision":
        """`room_us`: how far from the end of its minute; negative = by how much it is beyond."""
        is_allowed = room_us >= 0
        left_us = room_us if is_allowed else room_us + rate.cost_us
        return cls(
            rate,
            is_allowed,
            remaining=max(room_us, 0) // rate.cost_us,
            reset_s=ceil((SPAN_US - left_us) / 1e6),
            retry_after_s=0 if is_allowed else ceil(-room_us / 1e6),
        )


class RateStore(Protocol):
    async def take(self, key: str, rate: Rate) -> int:
        """Count one more, if there is room. Returns: what `RateDecision.of` reads."""

    async def close(self) -> None: ...


def _monotonic_us() -> int:
    return time.monotonic_ns() // 1000


class MemoryRates:
    """The same in this process alone; the oldest keys go when there are too many."""

    def __init__(self, now_us: Callable[[], int] = _monotonic_us) -> None:
        self._now_us = now_us
        self._paid: dict[str, int] = {}

    async def take(self, key: str, rate: Rate) -> int:
        now = self._now_us()
        paid = max(now, self._paid.pop(key, 0)) + rate.cost_us
        room = now + SPAN_US - paid
        self._paid[key] = paid if room >= 0 else paid - rate.cost_us
        while len(self._paid) > MOST_KEPT:
            del self._paid[next(iter(self._paid))]
        return room

    async def close(self) -> None:
        self._paid.clear()


class BrokerRates:
    """In Redis or Valkey; where that is away, in this process, and the log says so."""

    def __init__(
        self,
        broker_url: str,
        now_us: Callable[[], int] | None = None,
        prefix: str = "penjing:rate",
        timeout_s: float = STORE_TIMEOUT_S,
    ) -> None:
        self._redis = Redis.from_url(
            redis_url(broker_url), socket_timeout=timeout_s, socket_connect_timeout=timeout_s
        )
        self._take = self._redis.register_script(TAKE)
        self._now_us = now_us
        self._prefix = prefix
        self._here = MemoryRates(now_us or _monotonic_us)
        self._asked_again_at = 0.0

    async def take(self, key: str, rate: Rate) -> int:
        if time.monotonic() < self._asked_again_at:
            return await self._here.take(key, rate)
        now = self._now_us() if self._now_us else 0
        try:
            room = await self._take(
                keys=[f"{self._prefix}:{key}"], args=[SPAN_US, rate.cost_us, now]
            )
        except (RedisError, OSError) as error:
            self._asked_again_at = time.monotonic() + STORE_PAUSE_S
            log.warning(
                "rates.store_away",
                extra={"error": type(error).__name__, "meanwhile": "each process counts alone"},
            )
            return await self._here.take(key, rate)
        return int(room)

    async def close(self) -> None:
        await self._redis.aclose()


def rates_of(broker_url: str) -> "BrokerRates | MemoryRates":
    """Where to count for this broker; of sentinels nobody knows here which one to ask."""
    if urlsplit(broker_url).scheme == "sentinel":
        log.warning("rates.store_unknown", extra={"meanwhile": "each process counts alone"})
        return MemoryRates()
    return BrokerRates(broker_url)


def redis_url(broker_url: str) -> str:
    """The broker's URL as redis-py reads it; Celery writes sockets and options its own way."""
    parts = urlsplit(broker_url)
    options = dict(parse_qsl(parts.query))
    if "ssl_cert_reqs" in options:
        options["ssl_cert_reqs"] = options["ssl_cert_reqs"].removeprefix("CERT_").lower()
    if parts.scheme == "redis+socket":
        if "virtual_host" in options:
            options["db"] = options.pop("virtual_host")
        parts = parts._replace(scheme="unix", path=quote(unquote(parts.path)))
    return parts._replace(query=urlencode(options)).geturl()
