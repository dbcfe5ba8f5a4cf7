"""The catalogue of techniques."""

import pytest

from app.recipes.steps import step_types
from tests.app.api.conftest import Api

pytestmark = pytest.mark.anyio


async def test_list_names_every_technique_with_its_schema(api: Api) -> None:
    items = (await api.get("/v1/techniques")).json()["items"]
    assert [item["name"] for item in items] == list(step_types())
    by_name = {item["name"]: item for item in items}
    pruning = by_name["magnitude_pruning"]
    assert pruning["kind"] == "transform"
    assert pruning["parameters"]["properties"]["sparsity"]["exclusiveMaximum"] == 1
    assert "arXiv:1506.02626" in pruning["paper"]
    integer = by_name["full_integer_quantization"]
    assert (integer["kind"], integer["needs"]) == ("conversion", ["calibration_data"])
    assert integer["formats"] == ["h5", "keras", "saved_model", "tflite"]
    assert "\n" not in integer["summary"]


async def test_one_technique_is_what_the_list_says(api: Api) -> None:
    items = (await api.get("/v1/techniques")).json()["items"]
    assert (await api.get(f"/v1/techniques/{items[0]['name']}")).json() == items[0]


async def test_unknown_technique_is_not_found_with_the_close_name(api: Api) -> None:
    answer = await api.get("/v1/techniques/fine_tunning")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert "did you mean 'fine_tuning'?" in answer.json()["detail"]
