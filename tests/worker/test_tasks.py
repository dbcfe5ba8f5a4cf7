"""The one task: what it claims, what it leaves alone, and that an ending is written down."""

import pytest
from sqlalchemy.exc import OperationalError

from app.jobs.job import JobState
from app.jobs.leases import JobLeases, Outcome
from tests.worker.conftest import Desk
from worker.tasks import carry_out


def test_task_leaves_when_the_job_is_done_already(desk: Desk) -> None:
    done = desk.do("artifact.write_bytes(b'x'); leave()")

    carry_out(desk.shop, done.id)

    assert desk.shop.jobs.get(done.id) == done


def test_task_leaves_the_job_queued_when_the_worker_is_stopping(desk: Desk) -> None:
    desk.shop.closing.begin()

    job = desk.do("leave()")

    assert (job.state, job.attempt) == (JobState.QUEUED, 0)


def test_task_fails_the_job_when_its_model_is_gone(desk: Desk) -> None:
    job = desk.submit()
    for blob in desk.shop.blobs.root.glob("??/*"):
        blob.unlink()

    carry_out(desk.shop, job.id)

    ended = desk.shop.jobs.get(job.id)
    assert ended.state is JobState.FAILED
    assert ended.error is not None
    assert str(desk.shop.settings.home) not in str(ended.error)


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
