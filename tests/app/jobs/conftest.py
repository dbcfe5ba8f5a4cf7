"""Both databases, with the uploads that jobs of these tests name; their stores; such a job."""

from typing import Any

import pytest

from app.database.engine import Database
from app.jobs.leases import JobLeases
from app.jobs.request import JobRequest
from app.jobs.store import JobStore
from tests.app.conftest import add_uploads


@pytest.fixture
def both_databases(both_databases: Database) -> Database:
    """As everywhere, and two models and a data set in it."""
    add_uploads(both_databases, mdl_1="model", mdl_2="model", dst_1="dataset")
    return both_databases


@pytest.fixture
def store(both_databases: Database) -> JobStore:
    return JobStore(both_databases)


@pytest.fixture
def leases(both_databases: Database) -> JobLeases:
    return JobLeases(both_databases)


def asked(**changes: Any) -> JobRequest:
    """A job that needs no data."""
    body = {
        "model_id": "mdl_1",
        "recipe": {"steps": [{"technique": "magnitude_pruning", "sparsity": 0.5}]},
    }
    return JobRequest.model_validate(body | changes)
