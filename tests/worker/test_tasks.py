"""The one task: what it claims, what it leaves alone, and that an ending is written down."""

import threading
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy.exc import DataError, OperationalError

from app.accounts.principal import DEFAULT_TENANT
from app.accounts.quotas import Quotas
from app.jobs.job import JobState
from app.jobs.leases import JobLeases
from app.jobs.outcomes import Outcome
from app.uploads.store import UploadStore
from app.uploads.upload import Upload
from tests.fakes import FakeQueue
from tests.worker.conftest import PROLOGUE, Desk
from worker.tasks import carry_out
from worker.workshop import Closing, Workshop


def test_task_leaves_when_the_job_is_done_already(desk: Desk) -> None:
    done = desk.do("artifact.write_bytes(b'x'); leave()")

    carry_out(desk.shop, done.id)

    assert desk.shop.jobs.get(DEFAULT_TENANT, done.id) == done


def test_task_leaves_the_job_queued_when_the_worker_is_stopping(desk: Desk) -> None:
    desk.shop.closing.begin()

    job = desk.do("leave()")

    assert (job.state, job.attempt) == (JobState.QUEUED, 0)


def test_task_fails_the_job_when_its_model_is_gone(desk: Desk) -> None:
    job = desk.submit()
    for blob in desk.shop.blobs.root.glob("??/*"):
        blob.unlink()

    carry_out(desk.shop, job.id)

    ended = desk.shop.jobs.get(DEFAULT_TENANT, job.id)
    assert ended.state is JobState.FAILED
    assert ended.error is not None
    assert ended.error["code"] == "model_not_loadable"
    assert "not in the store any more" in ended.error["detail"]
    assert "pload the model again" in ended.error["hint"]
    assert str(desk.shop.settings.home) not in str(ended.error)


def test_job_is_handed_back_when_the_database_is_away_as_its_inputs_are_looked_up(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    get, failures = UploadStore.get, iter(range(1))

    def late(uploads: UploadStore, *facts: Any) -> Upload:
        if next(failures, None) is not None:
            raise OperationalError("SELECT", {}, Exception("server closed the connection"))
        return get(uploads, *facts)

    monkeypatch.setattr(UploadStore, "get", late)

    job = desk.do("artifact.write_bytes(b'x'); leave()")
    assert (job.state, job.attempt, job.error) == (JobState.QUEUED, 1, None)

    carry_out(desk.shop, job.id)
    assert desk.shop.jobs.get(DEFAULT_TENANT, job.id).state is JobState.SUCCEEDED


def test_result_is_kept_when_the_database_is_away_at_the_end(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, failures = JobLeases.commit, iter(range(3))

    def late(leases: JobLeases, job_id: str, fence: int, outcome: Outcome, now: object) -> bool:
        if next(failures, None) is not None:
            raise OperationalError("UPDATE", {}, Exception("server closed the connection"))
        return commit(leases, job_id, fence, outcome, now)  # type: ignore[arg-type]  # as given

    monkeypatch.setattr(JobLeases, "commit", late)

    job = desk.do("artifact.write_bytes(b'x'); leave()")

    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1)


def test_job_whose_files_were_swept_meanwhile_has_not_succeeded(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, failures = JobLeases.commit, iter(range(1))

    def swept(leases: JobLeases, job_id: str, fence: int, outcome: Outcome, now: datetime) -> bool:
        if next(failures, None) is not None:
            [made] = outcome.artifacts
            desk.shop.blobs.path(made.sha256).unlink()
            raise OperationalError("UPDATE", {}, Exception("server closed the connection"))
        return commit(leases, job_id, fence, outcome, now)

    monkeypatch.setattr(JobLeases, "commit", swept)

    job = desk.do("artifact.write_bytes(b'x'); leave()")

    assert job.state is JobState.FAILED


def test_job_fails_when_the_database_refuses_its_result(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = JobLeases.commit

    def fussy(leases: JobLeases, job_id: str, fence: int, outcome: Outcome, now: datetime) -> bool:
        if outcome.state is JobState.SUCCEEDED:
            raise DataError("UPDATE", {}, Exception("a number that no column holds"))
        return commit(leases, job_id, fence, outcome, now)

    monkeypatch.setattr(JobLeases, "commit", fussy)

    job = desk.do("artifact.write_bytes(b'x'); leave()")

    assert job.state is JobState.FAILED
    assert job.error is not None
    assert (job.error["code"], job.error["stage"]) == ("engine_fault", "storing")


def test_job_keeps_its_turn_when_it_cannot_be_handed_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> bool:
        raise RuntimeError("a defect")

    monkeypatch.setattr(JobLeases, "hand_back", broken)

    job = desk.do("os.kill(os.getpid(), signal.SIGSEGV)")

    assert (job.state, job.error) == (JobState.RUNNING, None)


def test_history_is_whole_when_the_database_is_away_at_the_end(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, failures = JobLeases.record, iter(range(3))

    def late(leases: JobLeases, *facts: Any) -> bool:
        if next(failures, None) is not None:
            raise OperationalError("UPDATE", {}, Exception("server closed the connection"))
        return record(leases, *facts)

    monkeypatch.setattr(JobLeases, "record", late)

    job = desk.do("artifact.write_bytes(b'x'); say('phase', phase='exporting'); leave()")

    events = desk.shop.jobs.events(DEFAULT_TENANT, job.id, 0, 100)
    assert [event.type for event in events[-2:]] == ["phase", "state"]
    assert job.state is JobState.SUCCEEDED


def test_stopping_worker_gives_up_when_the_database_stays_away(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> bool:
        raise OperationalError("UPDATE", {}, Exception("server closed the connection"))

    monkeypatch.setattr(JobLeases, "commit", away)
    hasty = desk.shop.settings.model_copy(update={"lease_s": 0.3, "heartbeat_s": 0.1})
    shop = replace(desk.shop, settings=hasty, closing=Closing(grace_s=0.5))
    desk.script.write_text(PROLOGUE + "artifact.write_bytes(b'x'); leave()")
    job = desk.submit()
    stop = threading.Timer(0.2, shop.closing.begin)

    stop.start()
    carry_out(shop, job.id)
    stop.join()

    assert shop.jobs.get(DEFAULT_TENANT, job.id).state is JobState.RUNNING


def test_next_job_of_a_tenant_is_woken_when_one_of_its_own_ends(
    desk: Desk,
) -> None:
    queue = FakeQueue()
    shop = replace(limited(desk, Quotas(jobs_running=1)), queue=queue)
    running, waiting = desk.submit(), desk.submit()
    desk.script.write_text(PROLOGUE + "artifact.write_bytes(b'x'); leave()")

    carry_out(shop, running.id)
    assert queue.sent == [waiting.id]

    carry_out(shop, waiting.id)
    assert queue.sent == [waiting.id]


def test_job_ends_when_its_tenants_month_is_used_up(desk: Desk) -> None:
    shop = limited(desk, Quotas(run_s=0.5))
    desk.script.write_text(PROLOGUE + "time.sleep(60)")
    job = desk.submit()

    carry_out(shop, job.id)

    ended = desk.shop.jobs.get(DEFAULT_TENANT, job.id)
    assert ended.state is JobState.TIMED_OUT
    assert ended.error is not None
    assert ended.error["code"] == "run_time_exceeded"
    assert "left of its tenant's month" in ended.error["detail"]


def limited(desk: Desk, quotas: Quotas) -> Workshop:
    return replace(desk.shop, leases=JobLeases(desk.shop.leases.database, quotas))
