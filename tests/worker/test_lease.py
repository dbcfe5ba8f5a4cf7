"""Holding a job: through an outage of the database, until its row says that it is somebody's."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest
from sqlalchemy.exc import OperationalError

from app.accounts.principal import DEFAULT_TENANT
from app.jobs.job import Job
from app.jobs.leases import JobLeases
from app.jobs.outcomes import Renewal
from app.settings import Settings
from tests.e2e.faults.conftest import wait_until
from tests.worker.conftest import Desk
from worker.lease import Hold

Renew = Callable[[JobLeases, str, int, datetime, float], Renewal]


@pytest.fixture
def settings(desk: Desk) -> Settings:
    quick = {"lease_s": 0.3, "heartbeat_s": 0.05, "poll_s": 0.01}
    return desk.shop.settings.model_copy(update=quick)


@pytest.fixture
def job(desk: Desk) -> Job:
    shop = desk.shop
    job = shop.leases.claim(desk.submit().id, shop.name, shop.clock(), 0.3)
    assert job is not None
    return job


@pytest.fixture
def hold(desk: Desk, job: Job, settings: Settings) -> Iterator[Hold]:
    with Hold(desk.shop.leases, job, settings, desk.shop.clock) as hold:
        yield hold


def failing(error: BaseException, times: list[datetime]) -> Renew:
    def renew(_: JobLeases, __: str, ___: int, now: datetime, ____: float) -> Renewal:
        times.append(now)
        raise error

    return renew


@pytest.mark.parametrize(
    "error",
    [OperationalError("UPDATE", {}, Exception("server closed the connection")), ValueError("odd")],
)
def test_hold_is_kept_when_renewing_fails_for_longer_than_the_lease(
    desk: Desk, job: Job, hold: Hold, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    times: list[datetime] = []
    with monkeypatch.context() as broken:
        broken.setattr(JobLeases, "renew", failing(error, times))
        wait_until(
            lambda: len(times) > 1 and times[-1] - times[0] > timedelta(seconds=0.5),
            "it was tried for longer than the lease lasts",
        )
    back_at = desk.shop.clock()
    wait_until(
        lambda: (
            (now := desk.shop.jobs.get(DEFAULT_TENANT, job.id).lease_expires_at) is not None
            and now > back_at
        ),
        "the lease is renewed again",
    )

    assert not hold.is_lost


def test_hold_is_lost_when_the_row_says_so(desk: Desk, job: Job, hold: Hold) -> None:
    desk.shop.leases.hand_back(job.id, job.fence, desk.shop.clock(), counts=True)

    wait_until(lambda: hold.is_lost, "the hold is lost")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_hold_is_lost_when_nobody_renews_any_more(
    hold: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(JobLeases, "renew", failing(Unstoppable(), []))

    wait_until(lambda: hold.is_lost, "the hold is lost")


class Unstoppable(BaseException):
    """What no `except Exception` catches."""
