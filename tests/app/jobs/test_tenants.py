"""Stores find nothing of another tenant; proven for every method they have, on both databases."""

import inspect
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from app.accounts.principal import DEFAULT_TENANT
from app.accounts.store import AccountStore
from app.database.engine import Database
from app.errors import Invalid, NotFound
from app.jobs.job import Job, JobState
from app.jobs.leases import JobLeases
from app.jobs.listing import JobFilter, list_jobs
from app.jobs.outcomes import NewArtifact, Outcome
from app.jobs.store import Idempotency, JobStore, uses
from app.uploads.formats import UploadKind
from app.uploads.store import UploadStore
from tests.app.conftest import add_tenant, add_uploads
from tests.app.jobs.conftest import asked
from tests.fakes import a_change

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OTHER = "ten_other"
KEY = Idempotency("k", "digest")
# What is about no tenant, and never asked for by one: sweeps, reapers, inspections.
HOUSEKEEPING = {
    JobStore: {"mark_sent", "blobs_in_use"},
    UploadStore: {"finish", "inspecting", "referenced"},
    AccountStore: {
        *("tenant_named", "tenant_names", "add_tenant", "note_use"),
        *("by_prefix", "by_id", "by_ids", "all_keys"),
    },
}


def methods(kind: type) -> Mapping[str, Callable[..., Any]]:
    return {
        name: method
        for name, method in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_")
    }


@pytest.mark.parametrize("kind", HOUSEKEEPING, ids=lambda kind: kind.__name__)
def test_every_method_is_told_the_tenant_first(kind: type) -> None:
    untold = {
        name
        for name, method in methods(kind).items()
        if list(inspect.signature(method).parameters)[1:2] not in (["tenant_id"], ["change"])
    }
    assert untold == HOUSEKEEPING[kind]


@pytest.fixture
def job(both_databases: Database) -> Job:
    """A job of the default tenant that made something."""
    add_tenant(both_databases, OTHER, "other")
    store, leases = JobStore(both_databases), JobLeases(both_databases)
    job = store.add(a_change(), asked(), now=NOW, idempotency=KEY)
    claimed = leases.claim(job.id, "w", NOW, 10)
    assert claimed
    made = NewArtifact("tflite", "tflite", "a.tflite", 1, "a" * 64)
    outcome = Outcome(JobState.SUCCEEDED, layers=[], artifacts=(made,))
    leases.commit(job.id, claimed.fence, outcome, NOW)
    return store.get(DEFAULT_TENANT, job.id)


def test_job_of_another_tenant_is_not_there(job: Job, both_databases: Database) -> None:
    store = JobStore(both_databases)
    [artifact] = store.artifacts(DEFAULT_TENANT, job.id)

    for read in (store.get, store.state_of, store.layers):
        with pytest.raises(NotFound):
            read(OTHER, job.id)
    with pytest.raises(NotFound):
        store.request_cancel(a_change(OTHER), job.id, NOW)
    with pytest.raises(NotFound):
        store.artifact(OTHER, artifact.id)
    assert store.events(DEFAULT_TENANT, job.id, 0, 10)
    assert store.events(OTHER, job.id, 0, 10) == []
    assert store.artifacts(OTHER, job.id) == []
    assert store.artifacts_of(OTHER, [job.id]) == {}
    assert store.replayed(OTHER, KEY, NOW) is None
    assert list_jobs(both_databases, OTHER, JobFilter(), 10, None).items == []
    assert store.get(DEFAULT_TENANT, job.id) == job


def test_queue_of_another_tenant_is_not_counted(job: Job, both_databases: Database) -> None:
    store = JobStore(both_databases)
    add_uploads(both_databases, OTHER, mdl_other="model")
    first = store.add(a_change(), asked(), now=NOW)
    later = store.add(a_change(OTHER), asked(model_id="mdl_other"), now=NOW)

    assert store.queue_positions(OTHER, [first.id, later.id]) == {later.id: 1}


def test_job_cannot_be_added_with_the_model_of_another_tenant(
    job: Job, both_databases: Database
) -> None:
    with pytest.raises(Invalid, match="mdl_1"):
        JobStore(both_databases).add(a_change(OTHER), asked(), now=NOW)


def test_job_cannot_be_cancelled_by_another_tenant(job: Job, both_databases: Database) -> None:
    store = JobStore(both_databases)
    queued = store.add(a_change(), asked(), now=NOW)
    with pytest.raises(NotFound):
        store.request_cancel(a_change(OTHER), queued.id, NOW)
    assert store.get(DEFAULT_TENANT, queued.id) == queued


def test_upload_of_another_tenant_is_not_there(job: Job, both_databases: Database) -> None:
    store = UploadStore(both_databases)
    with pytest.raises(NotFound):
        store.get(OTHER, "mdl_2", UploadKind.MODEL)
    assert store.page(OTHER, UploadKind.MODEL, 10, None).items == []
    store.delete(a_change(OTHER), "mdl_2", uses, NOW)
    assert store.get(DEFAULT_TENANT, "mdl_2", UploadKind.MODEL).id == "mdl_2"


def test_upload_is_not_in_use_by_another_tenant(job: Job, both_databases: Database) -> None:
    JobStore(both_databases).add(a_change(), asked(), now=NOW)
    with both_databases.read() as connection:
        assert uses(connection, DEFAULT_TENANT, "mdl_1")
        assert not uses(connection, OTHER, "mdl_1")
