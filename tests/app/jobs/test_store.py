"""Adding, reading, listing and cancelling jobs, on both databases."""

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from app.accounts.principal import DEFAULT_TENANT
from app.database.engine import Database
from app.errors import IdempotencyKeyReused, Invalid, Malformed, NotFound
from app.jobs import listing
from app.jobs.job import JobState
from app.jobs.leases import JobLeases
from app.jobs.listing import FETCHED, JobFilter, decode_cursor, encode_cursor, list_jobs
from app.jobs.request import JobRequest
from app.jobs.rows import NewEvent, append_events
from app.jobs.store import Idempotency, JobStore, uses
from app.uploads.store import UploadStore
from tests.app.jobs.conftest import asked
from tests.fakes import a_change

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TAUGHT = {"steps": [{"technique": "fine_tuning", "distill": True}]}


def test_added_job_reads_back_as_it_was_asked(store: JobStore) -> None:
    request = asked(name="small", dataset_id="dst_1", tags={"team": "vision"})

    job = store.add(a_change(), request, now=NOW)

    assert store.get(DEFAULT_TENANT, job.id) == job
    assert (job.state, job.attempt, job.version, job.created_at) == (JobState.QUEUED, 0, 1, NOW)
    assert JobRequest.model_validate(job.request) == request
    assert [(e.seq, e.type, e.data) for e in store.events(DEFAULT_TENANT, job.id, 0, 10)] == [
        (1, "state", {"state": "queued"})
    ]


def test_unknown_job_is_not_found(store: JobStore) -> None:
    for read in (store.get, store.state_of, store.layers):
        with pytest.raises(NotFound, match="job_nowhere"):
            read(DEFAULT_TENANT, "job_nowhere")


def test_idempotency_key_gives_the_same_job_again(store: JobStore) -> None:
    key = Idempotency("k", "digest")

    first = store.add(a_change(), asked(), now=NOW, idempotency=key)
    again = store.add(a_change(), asked(), now=NOW + timedelta(hours=1), idempotency=key)

    assert again.id == first.id


def test_idempotency_key_with_another_request_is_refused(store: JobStore) -> None:
    store.add(a_change(), asked(), now=NOW, idempotency=Idempotency("k", "digest"))

    with pytest.raises(IdempotencyKeyReused):
        store.add(a_change(), asked(), now=NOW, idempotency=Idempotency("k", "another"))


def test_idempotency_key_is_forgotten_after_a_day(store: JobStore) -> None:
    key = Idempotency("k", "digest")
    first = store.add(a_change(), asked(), now=NOW, idempotency=key)

    later = store.add(a_change(), asked(), now=NOW + timedelta(hours=25), idempotency=key)

    assert later.id != first.id


def test_last_made_is_the_highest_number_of_the_last_day(store: JobStore) -> None:
    made = {}
    for number in (1, 2, 9, 10):
        key = Idempotency(f"retry:job_1:{number}", "digest")
        made[number] = store.add(a_change(), asked(), now=NOW, idempotency=key)
    for other in ("retry:job_1", "retry:jobx1:11", "retry:job_11:12"):
        store.add(a_change(), asked(), now=NOW, idempotency=Idempotency(other, "digest"))

    assert store.last_made(DEFAULT_TENANT, "retry:job_1:", NOW) == (10, made[10])
    assert store.last_made("ten_other", "retry:job_1:", NOW) is None
    assert store.last_made(DEFAULT_TENANT, "retry:job_1:", NOW + timedelta(hours=25)) is None


def test_events_are_read_to_a_limit_of_bytes(store: JobStore, both_databases: Database) -> None:
    job = store.add(a_change(), asked(), now=NOW)
    with both_databases.write() as connection:
        # As stored: an accent is six characters of ASCII.
        large = NewEvent("warning", {"message": "\u00e9" * 50_000})
        append_events(connection, job.id, [large] * 12, NOW)

    first = store.events(DEFAULT_TENANT, job.id, 0, 1_000)
    rest = store.events(DEFAULT_TENANT, job.id, first[-1].seq, 1_000)
    assert [event.seq for event in first] == [1, 2, 3, 4, 5]
    assert [event.seq for event in rest] == [6, 7, 8, 9]
    assert len(store.events(DEFAULT_TENANT, job.id, 0, 2)) == 2


def test_idempotency_key_makes_one_job_when_many_requests_race(store: JobStore) -> None:
    key = Idempotency("k", "digest")
    with ThreadPoolExecutor(8) as pool:
        made = list(
            pool.map(
                lambda _: store.add(a_change(), asked(), now=NOW, idempotency=key).id,
                range(8),
            )
        )

    assert len(set(made)) == 1


def test_cancel_ends_a_queued_job_once(store: JobStore) -> None:
    job = store.add(a_change(), asked(), now=NOW)

    first = store.request_cancel(a_change(), job.id, NOW)
    again = store.request_cancel(a_change(), job.id, NOW + timedelta(seconds=1))

    assert first.state is JobState.CANCELLED
    assert again == first


def test_cancel_only_asks_a_running_job(store: JobStore, both_databases: Database) -> None:
    job = store.add(a_change(), asked(), now=NOW)
    JobLeases(both_databases).claim(job.id, "w", NOW, 10)

    asked_to_stop = store.request_cancel(a_change(), job.id, NOW)

    assert (asked_to_stop.state, asked_to_stop.cancel_requested) == (JobState.RUNNING, True)


def test_cancel_of_an_unknown_job_is_not_found(store: JobStore) -> None:
    with pytest.raises(NotFound):
        store.request_cancel(a_change(), "job_nowhere", NOW)


def test_queue_position_counts_what_was_queued_before(store: JobStore) -> None:
    jobs = [store.add(a_change(), asked(), now=NOW + timedelta(seconds=i)) for i in range(3)]
    store.request_cancel(a_change(), jobs[0].id, NOW)

    positions = store.queue_positions(DEFAULT_TENANT, [job.id for job in jobs])
    assert positions == {jobs[1].id: 1, jobs[2].id: 2}
    assert store.queue_positions(DEFAULT_TENANT, [jobs[2].id]) == {jobs[2].id: 2}


def test_upload_is_in_use_while_a_job_is_active(store: JobStore, both_databases: Database) -> None:
    job = store.add(a_change(), asked(dataset_id="dst_1"), now=NOW)

    with both_databases.read() as connection:
        assert uses(connection, DEFAULT_TENANT, "mdl_1")
        assert uses(connection, DEFAULT_TENANT, "dst_1")
        assert not uses(connection, DEFAULT_TENANT, "mdl_2")
    store.request_cancel(a_change(), job.id, NOW)
    with both_databases.read() as connection:
        assert not uses(connection, DEFAULT_TENANT, "mdl_1")


def test_teacher_is_in_use_while_a_job_is_active(store: JobStore, both_databases: Database) -> None:
    job = store.add(
        a_change(),
        asked(dataset_id="dst_1", recipe=TAUGHT, teacher_model_id="mdl_2"),
        now=NOW,
    )

    assert not UploadStore(both_databases).delete(a_change(), "mdl_2", uses, NOW)
    store.request_cancel(a_change(), job.id, NOW)
    assert UploadStore(both_databases).delete(a_change(), "mdl_2", uses, NOW)


def test_job_cannot_be_added_when_its_teacher_is_gone(store: JobStore) -> None:
    with pytest.raises(Invalid, match="mdl_gone") as refused:
        store.add(a_change(), asked(recipe=TAUGHT, teacher_model_id="mdl_gone"), now=NOW)

    assert [complaint.pointer for complaint in refused.value.errors] == ["/teacher_model_id"]


def test_job_cannot_be_added_when_its_model_is_gone(store: JobStore) -> None:
    with pytest.raises(Invalid, match="mdl_gone") as refused:
        store.add(a_change(), asked(model_id="mdl_gone", dataset_id="dst_gone"), now=NOW)

    assert [complaint.pointer for complaint in refused.value.errors] == ["/model_id", "/dataset_id"]


def test_upload_is_deleted_or_used_but_never_both_when_both_are_tried(
    store: JobStore, both_databases: Database
) -> None:
    uploads = UploadStore(both_databases)

    def submit() -> bool:
        try:
            store.add(a_change(), asked(dataset_id="dst_1"), now=NOW)
        except Invalid:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        submitted = pool.submit(submit)
        deleted = pool.submit(uploads.delete, a_change(), "dst_1", uses, NOW)

    assert submitted.result() != deleted.result()


def test_list_filters_by_state_technique_model_and_tag(
    store: JobStore, both_databases: Database
) -> None:
    wanted = store.add(a_change(), asked(model_id="mdl_2", tags={"team": "vision"}), now=NOW)
    other = store.add(
        a_change(),
        asked(tags={"team": "speech"}, recipe={"steps": [{"technique": "float16_quantization"}]}),
        now=NOW,
    )
    store.request_cancel(a_change(), other.id, NOW)

    for wish in (
        JobFilter(state=JobState.QUEUED),
        JobFilter(technique="magnitude_pruning"),
        JobFilter(model_id="mdl_2"),
        JobFilter(tag="team:vision"),
        JobFilter(tag="team", state=JobState.QUEUED),
    ):
        assert [
            job.id for job in list_jobs(both_databases, DEFAULT_TENANT, wish, 10, None).items
        ] == [wanted.id]
    assert (
        len(list_jobs(both_databases, DEFAULT_TENANT, JobFilter(tag="team"), 10, None).items) == 2
    )


@pytest.mark.parametrize("newest_first", [True, False])
def test_list_pages_hold_every_job_once_while_jobs_are_added(
    store: JobStore, both_databases: Database, newest_first: bool
) -> None:
    before = [
        store.add(a_change(), asked(), now=NOW + timedelta(seconds=i // 2)).id for i in range(7)
    ]
    seen: list[str] = []
    cursor = None
    while True:
        page = list_jobs(
            both_databases, DEFAULT_TENANT, JobFilter(newest_first=newest_first), 2, cursor
        )
        seen += [job.id for job in page.items]
        if page.next_cursor is None:
            break
        cursor = page.next_cursor
        if len(seen) < 6:
            store.add(a_change(), asked(), now=NOW + timedelta(days=1 if newest_first else -1))

    assert seen == (before[::-1] if newest_first else before)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no cursor",
        "[1,2]",
        "[" * 20_000,
        "1.job_1",
        f"{10**17}.job_{'0' * 26}",
        f"-1.job_{'0' * 26}",
        f"1.job_{'0' * 25}\0",
        f"1.mdl_{'0' * 26}",
    ],
)
def test_cursor_that_is_not_ours_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        decode_cursor(base64.urlsafe_b64encode(text.encode()).decode())


@pytest.mark.parametrize("cursor", ["x", "é", "/w==", "%00"])
def test_cursor_that_is_not_even_encoded_is_refused(cursor: str) -> None:
    with pytest.raises(Malformed):
        decode_cursor(cursor)


def test_cursor_reads_back_as_it_was_given_out(store: JobStore) -> None:
    job = store.add(a_change(), asked(), now=NOW + timedelta(microseconds=123_457))

    assert decode_cursor(encode_cursor(job.created_at, job.id)) == (job.created_at, job.id)


def test_page_ends_where_its_jobs_are_long(
    store: JobStore, both_databases: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # More than are fetched at once.
    ids = [
        store.add(a_change(), asked(), now=NOW + timedelta(seconds=n)).id
        for n in range(FETCHED + 5)
    ]
    one = len(json.dumps(store.get(DEFAULT_TENANT, ids[0]).request))
    monkeypatch.setattr(listing, "MOST_PAGE_CHARS", one * (FETCHED + 2) + one // 2)
    oldest_first = JobFilter(newest_first=False)

    first = list_jobs(both_databases, DEFAULT_TENANT, oldest_first, 200, None)
    rest = list_jobs(both_databases, DEFAULT_TENANT, oldest_first, 200, first.next_cursor)

    assert [[job.id for job in page.items] for page in (first, rest)] == [
        ids[: FETCHED + 2],
        ids[FETCHED + 2 :],
    ]
    assert rest.next_cursor is None
