"""Claims, leases and the fence, on both databases."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from app.accounts.principal import DEFAULT_TENANT
from app.database.engine import Database
from app.errors import ChildCrashed
from app.jobs.job import Job, JobState
from app.jobs.leases import JobLeases
from app.jobs.outcomes import NewArtifact, Outcome, Renewal
from app.jobs.presence import Box, Standing, Worker, WorkerPresence
from app.jobs.rows import NewEvent
from app.jobs.store import JobStore
from app.reports.report import Verdict
from tests.app.jobs.conftest import asked
from tests.fakes import a_change

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(seconds=60)
DONE = Outcome(
    JobState.SUCCEEDED,
    Verdict.MET,
    report={"figure": 1.5},
    layers=[{"name": "dense"}],
    artifacts=(NewArtifact("tflite", "tflite", "m.tflite", 3, "a" * 64),),
)


@pytest.fixture
def queued(store: JobStore) -> Job:
    return store.add(a_change(), asked(limits={"queue_s": 100}), now=NOW)


def claimed(leases: JobLeases, job: Job, now: datetime = NOW) -> Job:
    mine = leases.claim(job.id, "w", now, 10)
    assert mine is not None
    return mine


def test_claim_is_won_by_one_of_many(leases: JobLeases, queued: Job) -> None:
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda i: leases.claim(queued.id, f"w{i}", NOW, 10), range(8)))

    [mine] = [job for job in won if job is not None]
    assert (mine.state, mine.attempt, mine.fence, mine.started_at) == (
        JobState.RUNNING,
        1,
        1,
        NOW,
    )


def test_claim_of_a_job_that_waited_too_long_is_refused(leases: JobLeases, queued: Job) -> None:
    assert leases.claim(queued.id, "w", NOW + timedelta(seconds=100), 10) is None


def test_renewal_tells_of_a_cancel(store: JobStore, leases: JobLeases, queued: Job) -> None:
    job = claimed(leases, queued)
    assert leases.renew(job.id, job.fence, NOW, 10) == Renewal(True, False)

    store.request_cancel(a_change(), job.id, NOW)

    assert leases.renew(job.id, job.fence, NOW, 10) == Renewal(True, True)
    assert leases.look(job.id, job.fence) == Renewal(True, True)


def test_commit_keeps_everything_at_once(store: JobStore, leases: JobLeases, queued: Job) -> None:
    job = claimed(leases, queued)

    assert leases.commit(job.id, job.fence, DONE, LATER)

    done = store.get(DEFAULT_TENANT, job.id)
    assert (done.state, done.verdict, done.report, store.layers(DEFAULT_TENANT, job.id)) == (
        JobState.SUCCEEDED,
        Verdict.MET,
        {"figure": 1.5},
        [{"name": "dense"}],
    )
    assert (done.progress, done.finished_at, done.lease_expires_at) == (1.0, LATER, None)
    [made] = store.artifacts(DEFAULT_TENANT, job.id)
    assert store.artifact(DEFAULT_TENANT, made.id).sha256 == "a" * 64
    assert store.blobs_in_use() == {"a" * 64}
    assert store.events(DEFAULT_TENANT, job.id, 0, 10)[-1].data["state"] == "succeeded"


def test_names_of_any_length_are_stored(store: JobStore, leases: JobLeases, queued: Job) -> None:
    job = claimed(leases, queued)
    made = NewArtifact("saved_model", "saved_model", f"{'m' * 300}.zip", 3, "a" * 64)

    assert leases.record(job.id, job.fence, NOW, [], "p" * 300, 0.5)
    assert leases.commit(job.id, job.fence, Outcome(JobState.SUCCEEDED, artifacts=(made,)), LATER)

    assert store.artifacts(DEFAULT_TENANT, job.id)[0].filename == made.filename


def test_figure_that_is_no_number_is_stored_as_null(
    store: JobStore, leases: JobLeases, queued: Job
) -> None:
    job = claimed(leases, queued)
    event = NewEvent("metrics", {"loss": float("nan"), "all": [1.5, float("inf")]})

    assert leases.record(job.id, job.fence, NOW, [event], "training", 0.5)

    assert store.events(DEFAULT_TENANT, job.id, 0, 10)[-1].data == {
        "loss": None,
        "all": [1.5, None],
    }


def test_commit_happens_once(store: JobStore, leases: JobLeases, queued: Job) -> None:
    job = claimed(leases, queued)

    assert leases.commit(job.id, job.fence, DONE, LATER)
    assert not leases.commit(job.id, job.fence, DONE, LATER)

    assert len(store.artifacts(DEFAULT_TENANT, job.id)) == 1


def test_worker_that_lost_its_lease_can_write_nothing(
    store: JobStore, leases: JobLeases, queued: Job
) -> None:
    old = claimed(leases, queued)
    assert leases.reap(LATER, max_attempts=3).requeued == (old.id,)
    new = claimed(leases, queued, LATER)

    assert not leases.commit(old.id, old.fence, DONE, LATER)
    assert not leases.hand_back(old.id, old.fence, LATER, counts=True)
    assert not leases.record(old.id, old.fence, LATER, [NewEvent("phase", {})], "x", 0.9)
    assert leases.renew(old.id, old.fence, LATER, 10) == Renewal(False, False)

    assert store.get(DEFAULT_TENANT, old.id) == new
    assert (new.fence, new.attempt) == (2, 2)
    assert store.artifacts(DEFAULT_TENANT, old.id) == []


def test_handed_back_job_can_be_claimed_again(
    store: JobStore, leases: JobLeases, queued: Job
) -> None:
    job = claimed(leases, queued)

    assert leases.hand_back(job.id, job.fence, LATER, counts=False)

    back = store.get(DEFAULT_TENANT, job.id)
    assert (back.state, back.attempt, back.sent_at, back.queued_at) == (
        JobState.QUEUED,
        0,
        None,
        LATER,
    )
    assert claimed(leases, queued, LATER).attempt == 1


def test_lost_job_fails_when_its_attempts_are_used_up(
    store: JobStore, leases: JobLeases, queued: Job
) -> None:
    claimed(leases, queued)

    assert leases.reap(LATER, max_attempts=1).ended == (queued.id,)

    failed = store.get(DEFAULT_TENANT, queued.id)
    assert failed.state is JobState.FAILED
    assert failed.error is not None
    assert failed.error["code"] == "worker_lost"


def test_lost_job_that_was_to_be_cancelled_is_cancelled(
    store: JobStore, leases: JobLeases, queued: Job
) -> None:
    claimed(leases, queued)
    store.request_cancel(a_change(), queued.id, NOW)

    leases.reap(LATER, max_attempts=3)

    assert store.get(DEFAULT_TENANT, queued.id).state is JobState.CANCELLED


def test_renewed_lease_is_not_reaped(leases: JobLeases, queued: Job) -> None:
    job = claimed(leases, queued)
    leases.renew(job.id, job.fence, LATER, 10)

    reaped = leases.reap(LATER, max_attempts=3)

    assert (reaped.requeued, reaped.ended) == ((), ())


def test_job_that_waited_too_long_is_timed_out(
    store: JobStore, leases: JobLeases, queued: Job
) -> None:
    leases.reap(NOW + timedelta(seconds=101), max_attempts=3)

    late = store.get(DEFAULT_TENANT, queued.id)
    assert late.state is JobState.TIMED_OUT
    assert late.error is not None
    assert late.error["code"] == "queue_time_exceeded"


def test_job_is_unheard_until_it_is_sent_and_again_later(
    store: JobStore, leases: JobLeases, queued: Job
) -> None:
    assert leases.unheard(NOW, resend_s=20) == [queued.id]

    store.mark_sent(queued.id, NOW)

    assert leases.unheard(NOW, resend_s=20) == []
    assert leases.unheard(NOW + timedelta(seconds=21), resend_s=20) == [queued.id]


def test_message_is_sent_again_ever_more_rarely_while_nobody_comes(
    store: JobStore, leases: JobLeases
) -> None:
    job = store.add(a_change(), asked(limits={"queue_s": 100}), now=NOW)
    sent: list[int] = []
    for second in range(0, 3600, 5):
        now = NOW + timedelta(seconds=second)
        if job.id in leases.unheard(now, resend_s=20):
            store.mark_sent(job.id, now)
            sent.append(second)

    pauses = [later - earlier for earlier, later in pairwise(sent)]
    assert sent[0] == 0
    assert pauses[:6] == [25, 45, 85, 165, 325, 645]
    assert set(pauses[6:]) == {645}


def test_events_are_numbered_without_gaps_when_writers_race(
    store: JobStore, leases: JobLeases, queued: Job
) -> None:
    job = claimed(leases, queued)

    def write(index: int) -> bool:
        events = [NewEvent("progress", {"i": index}), NewEvent("metrics", {"i": index})]
        return leases.record(job.id, job.fence, NOW, events, "training", 0.5)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(write, range(20)))

    numbers = [event.seq for event in store.events(DEFAULT_TENANT, job.id, 0, 1000)]
    assert numbers == list(range(1, 43))


def test_problem_of_a_failed_job_is_stored_whole(
    store: JobStore, leases: JobLeases, queued: Job
) -> None:
    job = claimed(leases, queued)
    problem = ChildCrashed("died with SIGSEGV", hint="try float16", stage="export").as_problem()

    leases.commit(job.id, job.fence, Outcome(JobState.FAILED, problem=problem), LATER)

    assert store.get(DEFAULT_TENANT, job.id).error == problem.model_dump(mode="json")


def test_worker_is_live_while_it_was_seen_lately(both_databases: Database) -> None:
    presence = WorkerPresence(both_databases)
    presence.beat("a", NOW, Standing.CONFINED)
    presence.beat("b", NOW, Standing.CONFINED)
    box = Box(landlock_abi=5, user="a user of its own", lacking=("speed",))
    presence.beat("a", LATER, Standing.CONFINED, box)

    [worker] = presence.live_workers(LATER, max_age_s=30)
    assert worker == Worker("a", Standing.CONFINED, box)
    presence.leave("a")
    assert presence.live_workers(LATER, max_age_s=30) == []
