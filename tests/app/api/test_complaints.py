"""What pydantic finds, as pointers and words. The body is a real job's."""

import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.api import problems
from app.api.complaints import pointer_to
from app.jobs.request import JobRequest

pytestmark = pytest.mark.anyio


def a_job(**changes: Any) -> dict[str, Any]:
    step = {"technique": "magnitude_pruning", "sparsity": 0.5}
    return {"model_id": "mdl_1", "recipe": {"steps": [step]}, **changes}


def a_job_of(step: Mapping[str, Any]) -> dict[str, Any]:
    return a_job(recipe={"steps": [{"technique": "magnitude_pruning", "sparsity": 0.5, **step}]})


async def refused(content: str | bytes, content_type: str = "application/json") -> dict[str, Any]:
    """The problem that a path taking a job answers with."""
    application = FastAPI()
    problems.install(application)

    @application.post("/jobs")
    def take(body: JobRequest) -> None: ...

    transport = httpx.ASGITransport(application)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.post("/jobs", content=content, headers={"Content-Type": content_type})
    assert answer.headers["content-type"] == problems.MEDIA_TYPE
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == answer.status_code
    return problem


@pytest.mark.parametrize(
    ("body", "pointer", "words"),
    [
        (a_job_of({"sparsity": 1.5}), "/recipe/steps/0/sparsity", "less than 1; given 1.5"),
        (a_job_of({"sparsity": "x"}), "/recipe/steps/0/sparsity", 'given "x"'),
        (a_job_of({"sparsty": 1}), "/recipe/steps/0/sparsty", "did you mean 'sparsity'? Allowed:"),
        (
            a_job_of({"recovery": {"epoch": 1}}),
            "/recipe/steps/0/recovery/epoch",
            "did you mean 'epochs'? Allowed: augmentation,",
        ),
        (
            a_job_of({"technique": "magnitude_prunin"}),
            "/recipe/steps/0/technique",
            "did you mean 'magnitude_pruning'?",
        ),
        (
            a_job(recipe={"steps": [{}]}),
            "/recipe/steps/0/technique",
            "missing. Allowed: activation_",
        ),
        (a_job(recipe={"steps": [3]}), "/recipe/steps/0", "valid dictionary"),
        (a_job_of({"n": 4, "m": 4, "pattern": "n_m"}), "/recipe/steps/0", "n must be below m"),
        (a_job(constraint={}), "/constraint", "did you mean 'constraints'?"),
        (a_job(constraints={"max_latency": 1}), "/constraints/max_latency", "'max_latency_ms'"),
        (a_job(tags={"a b": "c"}), "/tags/a b", "match pattern"),
        (a_job(tags={"a": 3}), "/tags/a", "valid string; given 3"),
        (a_job(outputs=["keras", "keras"]), "/outputs", "each output once"),
        (a_job(constraints={"max_latency_ms": float("nan")}), "/constraints/max_latency_ms", "Na"),
        (a_job(recipe={"seed": float("inf"), "steps": []}), "/recipe/seed", "Infinity"),
        ({"recipe": a_job()["recipe"]}, "/model_id", "field required"),
        (a_job(model_id="\ud800"), "/model_id", "unicode"),
        ([1], "", "valid dictionary"),
    ],
)
async def test_body_is_refused_with_a_pointer_when_a_field_is_wrong(
    body: object, pointer: str, words: str
) -> None:
    problem = await refused(json.dumps(body))
    assert (problem["code"], problem["status"]) == ("invalid", 422)
    assert [error["pointer"] for error in problem["errors"]][:1] == [pointer]
    assert words in problem["errors"][0]["detail"]


async def test_every_complaint_is_listed_when_several_fields_are_wrong() -> None:
    body = a_job(name=3, outputs=[], recipe={"steps": [{"technique": "fine_tuning", "epochs": 0}]})
    problem = await refused(json.dumps(body))
    assert [error["pointer"] for error in problem["errors"]] == [
        "/name",
        "/recipe/steps/0/epochs",
        "/outputs",
    ]
    assert problem["detail"].endswith("(and 2 more)")


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b"[" * 100_000, b'{"a": 1' + b"0" * 5000])
async def test_body_is_malformed_when_it_is_not_json(body: bytes) -> None:
    problem = await refused(body)
    assert (problem["code"], problem["status"]) == ("malformed", 400)


async def test_body_is_unsupported_when_it_does_not_say_json() -> None:
    problem = await refused("{}", "application/x-www-form-urlencoded")
    assert (problem["code"], problem["status"]) == ("unsupported_format", 415)
    assert "application/x-www-form-urlencoded" in problem["detail"]


def test_pointer_is_escaped_when_a_name_holds_slash_or_tilde() -> None:
    assert pointer_to(("body", "tags", "a/b~c", "[key]")) == "/tags/a~1b~0c"


def test_pointer_keeps_a_name_that_only_looks_like_a_tag() -> None:
    assert pointer_to(("body", "tags", "fine_tuning")) == "/tags/fine_tuning"
