"""Requests made from the OpenAPI description: what it allows, and what it does not.

Whatever is sent, no answer is an error of the server's own, and each is as the description says.
"""

import asyncio
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed
from hypothesis import settings as how
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)

from app.accounts.principal import Scope
from app.settings import Settings
from tests.app.api.conftest import Api
from tests.app.api.given import a_dataset, a_job, a_key, a_model, bearing, succeeded

pytestmark = pytest.mark.anyio

QUICK, LONG = 2, 60
# An upload waits for its inspection, and that for its turn.
PATIENCE_S = 120
CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# A stream of events is described as the text it is; schemathesis takes it apart before it looks.
STREAM = "/events"
# Ready says 503 here, where there is no broker and no worker.
NOT_ASKED = frozenset({"/readyz"})


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """So many requests come from nobody else."""
    none = dict.fromkeys(("requests", "uploads", "refused_keys"), 0)
    return settings.model_copy(update={f"rate_limit_{what}": most for what, most in none.items()})


async def explore(api: Api, url: str, examples: int, start: int) -> None:
    """Every operation, `examples` times; with ids that are there as often as with others."""
    headers = bearing(a_key(api, Scope.ADMIN))
    known = await known_ids(api, headers)
    await asyncio.to_thread(explore_all, url, headers, known, examples, start)


async def known_ids(api: Api, headers: dict[str, str]) -> dict[str, str]:
    """By the names of parameters and fields. The job is over, so that nobody waits for it."""
    api.http.headers.update(headers)
    job = await a_job(api)
    succeeded(api, job["id"])
    artifacts = (await api.get(f"/v1/jobs/{job['id']}/artifacts")).json()
    return {
        "model_id": a_model(api),
        "dataset_id": a_dataset(api),
        "job_id": job["id"],
        "artifact_id": artifacts["items"][0]["id"],
        "name": "magnitude_pruning",
    }


def explore_all(
    url: str, headers: dict[str, str], known: dict[str, str], examples: int, start: int
) -> None:
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json", headers=headers)
    # Ok or, for a description that is wrong, Err.
    operations = [found.ok() for found in schema.get_all_operations()]  # type: ignore[union-attr]
    assert len(operations) > 20
    statuses: Counter[int] = Counter()
    for operation in operations:
        if operation.path in NOT_ASKED:
            continue
        for mode in GenerationMode:
            statuses += explore_one(operation, mode, headers, known, examples=examples, start=start)
    # The key opens, ids are found, and what is wrong is refused.
    assert {200, 404, 422} <= statuses.keys()
    print(dict(sorted(statuses.items())))


def explore_one(
    operation: Any,
    mode: GenerationMode,
    headers: dict[str, str],
    known: dict[str, str],
    *,
    examples: int,
    start: int,
) -> Counter[int]:
    statuses: Counter[int] = Counter()
    checks = CHECKS[:-1] if operation.path.endswith(STREAM) else CHECKS

    @seed(start)
    @how(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), is_known=st.booleans())
    def answers(case: Any, is_known: bool) -> None:
        if is_known:
            fill_in(case, known)
        answer = case.call_and_validate(checks=checks, headers=headers, timeout=PATIENCE_S)
        statuses[answer.status_code] += 1

    # What takes no parameters cannot be asked wrongly.
    with suppress(Unsatisfiable):
        answers()
    return statuses


def fill_in(case: Any, known: dict[str, str]) -> None:
    for name in case.path_parameters or {}:
        case.path_parameters[name] = known.get(name, case.path_parameters[name])
    if isinstance(case.body, dict):
        case.body.update({name: known[name] for name in case.body if name in known})


async def test_operations_answer_as_described(asking: Api, url: str) -> None:
    await explore(asking, url, QUICK, start=1)


@pytest.mark.hostile
@pytest.mark.timeout(3600)
async def test_operations_answer_as_described_at_length(asking: Api, url: str) -> None:
    await explore(asking, url, LONG, start=2)
