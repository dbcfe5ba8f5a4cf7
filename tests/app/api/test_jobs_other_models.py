"""Jobs that name other models: teachers, students, sources of weights."""

from typing import Any

import pytest

from app.errors import RejectedUpload
from app.uploads.upload import UploadStatus
from tests.app.api import given
from tests.app.api.conftest import Api

pytestmark = pytest.mark.anyio

TAUGHT = {"steps": [{"technique": "fine_tuning", "distill": True}]}


def taught(api: Api, **changes: Any) -> dict[str, Any]:
    """A job that learns from a teacher."""
    body = given.a_body(given.a_model(api), dataset_id=given.a_dataset(api), recipe=TAUGHT)
    return body | changes


async def refused(api: Api, body: dict[str, Any]) -> dict[str, Any]:
    problem: dict[str, Any] = (await api.post("/v1/jobs:validate", json=body)).json()
    return problem


async def test_job_shows_its_teacher(api: Api) -> None:
    teacher = given.a_model(api)

    answer = await api.post("/v1/jobs", json=taught(api, teacher_model_id=teacher))

    job = answer.json()
    assert (answer.status_code, job["teacher_model_id"]) == (202, teacher)
    assert job["student_model_id"] is None
    assert job["recipe"]["steps"][0]["teacher_model_ids"] == []


async def test_delete_is_refused_while_an_active_job_learns_from_the_model(api: Api) -> None:
    teacher = given.a_model(api)
    job = (await api.post("/v1/jobs", json=taught(api, teacher_model_id=teacher))).json()

    assert (await api.http.delete(f"/v1/models/{teacher}")).status_code == 409
    await api.post(f"/v1/jobs/{job['id']}/cancel")
    assert (await api.http.delete(f"/v1/models/{teacher}")).status_code == 204


async def test_retry_is_refused_when_the_teacher_is_gone(api: Api) -> None:
    teacher = given.a_model(api)
    job = (await api.post("/v1/jobs", json=taught(api, teacher_model_id=teacher))).json()
    await api.post(f"/v1/jobs/{job['id']}/cancel")
    await api.http.delete(f"/v1/models/{teacher}")

    problem = (await api.post(f"/v1/jobs/{job['id']}/retry")).json()

    assert (problem["status"], problem["errors"][0]["pointer"]) == (422, "/teacher_model_id")


async def test_teacher_of_a_step_is_pointed_at_in_the_step(api: Api) -> None:
    step = {"technique": "fine_tuning", "distill": True, "teacher_model_ids": ["mdl_none"]}

    problem = await refused(api, taught(api, recipe={"steps": [step]}))

    pointers = [error["pointer"] for error in problem["errors"]]
    assert (problem["status"], pointers) == (422, ["/recipe/steps/0/teacher_model_ids/0"])


async def test_teacher_that_is_a_data_set_is_refused(api: Api) -> None:
    problem = await refused(api, taught(api, teacher_model_id=given.a_dataset(api)))

    assert (problem["status"], problem["errors"][0]["pointer"]) == (422, "/teacher_model_id")


async def test_teacher_that_was_rejected_is_refused(api: Api) -> None:
    reason = RejectedUpload("a bomb").as_problem()
    teacher = given.a_model(api, status=UploadStatus.REJECTED, inspection=None, problem=reason)

    problem = await refused(api, taught(api, teacher_model_id=teacher))

    assert (problem["status"], problem["errors"][0]["pointer"]) == (422, "/teacher_model_id")
    assert "a bomb" in problem["detail"]


async def test_teacher_that_is_still_inspected_has_to_be_waited_for(api: Api) -> None:
    teacher = given.a_model(api, status=UploadStatus.INSPECTING, inspection=None)

    problem = await refused(api, taught(api, teacher_model_id=teacher))

    assert (problem["status"], problem["code"]) == (409, "not_ready")
    assert problem["errors"][0]["pointer"] == "/teacher_model_id"


async def test_teacher_that_does_not_fit_is_refused_where_it_was_named(api: Api) -> None:
    wide = given.MODEL.model_dump(mode="json")
    wide["inputs"][0]["shape"] = [9]
    teacher = given.a_model(api, inspection=wide)

    problem = await refused(api, taught(api, teacher_model_id=teacher))

    [error] = problem["errors"]
    assert (problem["status"], error["pointer"]) == (422, "/teacher_model_id")
    assert "(9)" in error["detail"]
    assert "(4)" in error["detail"]


@pytest.mark.parametrize("field", ["teacher_model_id", "student_model_id"])
async def test_model_that_no_step_takes_is_refused(api: Api, field: str) -> None:
    problem = await refused(api, given.a_body(given.a_model(api), **{field: given.a_model(api)}))

    [error] = problem["errors"]
    assert (problem["status"], error["pointer"]) == (422, f"/{field}")
    assert "has no effect" in error["detail"]
