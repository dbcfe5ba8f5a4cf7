"""What a child says becomes history: thinned where it is talk, kept where it matters."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Text, cast, select
from sqlalchemy.exc import DataError, OperationalError

from app.accounts.principal import DEFAULT_TENANT
from app.database.tables import job_events
from app.jobs.job import Job
from app.jobs.leases import JobLeases
from tests.e2e.faults.conftest import wait_until
from tests.worker.conftest import Desk
from worker.engine.order import Event
from worker.journal import LEFT_OUT, MOST_BYTES, MOST_KEPT, Journal


@pytest.fixture
def job(desk: Desk) -> Job:
    shop = desk.shop
    job = shop.leases.claim(desk.submit().id, shop.name, shop.clock(), 60)
    assert job is not None
    return job


@pytest.fixture
def journal(desk: Desk, job: Job) -> Iterator[Journal]:
    with Journal(desk.shop, job) as journal:
        yield journal


def stored(desk: Desk, job: Job, kind: str) -> list[dict[str, object]]:
    events = desk.shop.jobs.events(DEFAULT_TENANT, job.id, 0, 100_000)
    return [event.data for event in events if event.type == kind]


def test_journal_keeps_every_phase_step_and_warning_when_training_talks(
    desk: Desk, job: Job, journal: Journal
) -> None:
    for number in range(20_000):
        journal.write([Event(event="metrics", progress=number / 20_000, data={"loss": 0.5})])
    journal.write([Event(event="phase", phase="exporting")])
    journal.write([Event(event="warning", message="int8 is slower here")])
    journal.close()

    assert stored(desk, job, "phase") == [{"phase": "exporting"}]
    assert stored(desk, job, "warning") == [{"message": "int8 is slower here"}]
    assert 150 <= len(stored(desk, job, "metrics")) <= 200


def test_journal_fills_no_database_when_a_child_talks_without_end(
    desk: Desk, job: Job, journal: Journal
) -> None:
    flood = [Event(event="warning", message="again")] * 1_000
    for _ in range(20):
        journal.write(flood)
    journal.close()

    assert len(stored(desk, job, "warning")) == MOST_KEPT


def test_journal_fills_no_database_when_what_a_child_says_is_large(
    desk: Desk, job: Job, journal: Journal
) -> None:
    # As hostile as a child can be: a character outside of the first plane is stored as 12.
    large: dict[str, float | int | str | bool | None] = {
        f"{n}": "\U0001f600" * 200 for n in range(50)
    }
    for kind in ("step", "warning", "phase"):
        journal.write([Event(event=kind, message="\U0001f600" * 2_000, data=large)] * 20)
    journal.close()

    with desk.shop.jobs._database.read() as connection:
        query = select(cast(job_events.c.data, Text)).where(job_events.c.job_id == job.id)
        texts = list(connection.execute(query.order_by(job_events.c.seq)).scalars())
    assert MOST_BYTES / 2 < sum(map(len, texts)) < MOST_BYTES + 1_000
    assert [LEFT_OUT in text for text in texts] == [False] * (len(texts) - 1) + [True]


def test_journal_has_room_for_a_step_when_a_child_warns_without_end(
    desk: Desk, job: Job, journal: Journal
) -> None:
    journal.write([Event(event="warning", message="again")] * 20_000)
    journal.write([Event(event="step", message="magnitude_pruning done")])
    journal.close()

    assert stored(desk, job, "step") == [{"message": "magnitude_pruning done"}]


def test_journal_cuts_what_is_too_long_to_be_kept(desk: Desk, job: Job, journal: Journal) -> None:
    data: dict[str, float | int | str | bool | None] = {f"{n}": "x" * 10_000 for n in range(1_000)}
    journal.write([Event(event="step", phase="p" * 10_000, message="m" * 10_000, data=data)])
    journal.close()

    [kept] = stored(desk, job, "step")
    assert kept == {"phase": "p" * 200, "message": "m" * 2_000, "data": kept["data"]}
    assert kept["data"] == {f"{n}": "x" * 200 for n in range(20)}


def test_journal_keeps_no_zero_character_which_postgresql_refuses(
    desk: Desk, job: Job, journal: Journal
) -> None:
    journal.write([Event(event="warning", message="a\0b")])
    journal.close()

    assert stored(desk, job, "warning") == [{"message": "a\N{REPLACEMENT CHARACTER}b"}]


def test_journal_goes_on_when_the_database_refuses_an_event(
    desk: Desk, job: Job, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> bool:
        raise DataError("INSERT", {}, Exception("not in this column"))

    with monkeypatch.context() as broken:
        broken.setattr(JobLeases, "record", refuse)
        journal.write([Event(event="phase", phase="training")])
        journal.close()
    journal.write([Event(event="phase", phase="exporting")])
    journal.close()

    assert stored(desk, job, "phase") == [{"phase": "exporting"}]


def test_journal_moves_the_job_even_when_no_event_is_worth_keeping(
    desk: Desk, job: Job, journal: Journal
) -> None:
    journal.write([Event(event="progress", phase="training", progress=0.001)])
    journal.close()

    now = desk.shop.jobs.get(DEFAULT_TENANT, job.id)
    assert (now.phase, now.progress) == ("training", 0.001)
    assert stored(desk, job, "progress") == []


def test_journal_never_goes_back(desk: Desk, job: Job, journal: Journal) -> None:
    journal.write([Event(event="progress", progress=0.7), Event(event="progress", progress=0.2)])
    journal.close()

    assert desk.shop.jobs.get(DEFAULT_TENANT, job.id).progress == 0.7


def test_journal_loses_nothing_when_the_database_is_away_for_a_while(
    desk: Desk, job: Job, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = threading.Event()

    def away(*_: object) -> bool:
        tried.set()
        raise OperationalError("UPDATE", {}, Exception("server closed the connection"))

    with monkeypatch.context() as broken:
        broken.setattr(JobLeases, "record", away)
        journal.write([Event(event="phase", phase="training")])
        assert tried.wait(30)
        journal.write([Event(event="phase", phase="exporting")])
        with pytest.raises(OperationalError):
            journal.close()
    journal.close()

    assert stored(desk, job, "phase") == [{"phase": "training"}, {"phase": "exporting"}]


def test_journal_stores_what_comes_while_the_database_is_slow_with_what_came_before(
    desk: Desk, job: Job, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, is_asked, answers = JobLeases.record, threading.Event(), threading.Event()

    def slow(leases: JobLeases, *facts: Any) -> bool:
        is_asked.set()
        return answers.wait(30) and record(leases, *facts)

    monkeypatch.setattr(JobLeases, "record", slow)
    journal.write([Event(event="phase", phase="training")])
    assert is_asked.wait(30)
    journal.write([Event(event="phase", phase="exporting", progress=0.5)])
    answers.set()

    # Without being closed: who follows a job sees it move.
    wait_until(lambda: len(stored(desk, job, "phase")) == 2, "both are stored")
    assert stored(desk, job, "phase") == [
        {"phase": "training"},
        {"phase": "exporting", "progress": 0.5},
    ]
    assert desk.shop.jobs.get(DEFAULT_TENANT, job.id).progress == 0.5


def test_number_that_nobody_can_divide_is_unknown_in_an_event(
    desk: Desk, job: Job, journal: Journal
) -> None:
    said = b'{"event":"metrics","progress":0.5,"data":{"loss":' + b"9" * 4000 + b"}}"
    journal.write([Event.model_validate_json(said)])
    journal.close()

    assert stored(desk, job, "metrics") == [{"progress": 0.5, "data": {"loss": None}}]
