"""Run time by calendar months in UTC."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from app.accounts.run_time import Run, by_month, month_of, next_month


@pytest.mark.parametrize(
    ("moment", "month", "following"),
    [
        (datetime(2026, 1, 31, 23, 59, 59, 999999, UTC), "2026-01", (2026, 2)),
        (datetime(2026, 2, 1, tzinfo=UTC), "2026-02", (2026, 3)),
        (datetime(2026, 12, 31, tzinfo=UTC), "2026-12", (2027, 1)),
        (datetime(2027, 1, 1, 1, tzinfo=timezone(timedelta(hours=2))), "2026-12", (2027, 1)),
    ],
)
def test_month_is_that_of_utc(moment: datetime, month: str, following: tuple[int, int]) -> None:
    assert month_of(moment) == month
    assert next_month(moment) == datetime(*following, 1, tzinfo=UTC)


def test_run_over_several_months_is_divided_among_them() -> None:
    run = Run("ten_1", datetime(2026, 1, 31, 23, tzinfo=UTC), datetime(2026, 3, 1, 2, tzinfo=UTC))
    assert dict(by_month(run)) == {
        "2026-01": 3600,
        "2026-02": 28 * 86_400,
        "2026-03": 7200,
    }


def test_run_that_ends_before_it_began_lasts_no_time() -> None:
    later, earlier = datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
    assert list(by_month(Run("ten_1", later, earlier))) == []
