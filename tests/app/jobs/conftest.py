"""Both databases with the uploads that the tests' jobs name."""

import pytest

from app.database.engine import Database
from tests.app.conftest import add_uploads


@pytest.fixture
def both_databases(both_databases: Database) -> Database:
    """As everywhere, and two models and a data set in it."""
    add_uploads(both_databases, mdl_1="model", mdl_2="model", dst_1="dataset")
    return both_databases
