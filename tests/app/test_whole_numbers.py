"""5.0 is an integer, as JSON Schema has it, wherever it stands in a request."""

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from app.accounts.key_request import KeyRequest
from app.jobs.request import JobRequest
from app.whole_numbers import MOST_DEPTH, with_whole_numbers

KEY: dict[str, Any] = {"name": "ci", "scopes": ["read"]}


def test_whole_number_is_taken_however_it_is_written() -> None:
    step = {"technique": "fine_tuning", "epochs": 3.0, "learning_rate": 1.0}
    request = JobRequest.model_validate(
        {"model_id": "mdl_1", "recipe": {"seed": 7.0, "steps": [step]}}
    )
    told = request.model_dump(mode="json")
    assert (told["recipe"]["seed"], told["recipe"]["steps"][0]["epochs"]) == (7, 3)
    assert isinstance(told["recipe"]["steps"][0]["learning_rate"], float)
    assert KeyRequest.model_validate({**KEY, "expires_in_s": 60.0}).as_wish().lifetime == timedelta(
        seconds=60
    )


@pytest.mark.parametrize("given", [60.5, True, "60", float("inf"), float("nan"), 1e300])
def test_other_number_is_refused(given: object) -> None:
    with pytest.raises(ValidationError):
        KeyRequest.model_validate({**KEY, "expires_in_s": given})


def test_what_lies_deeper_than_any_request_is_left_alone() -> None:
    deep: list[Any] = [5.0]
    for _ in range(100_000):
        deep = [deep]
    found = with_whole_numbers(deep)
    for _ in range(MOST_DEPTH):
        assert isinstance(found, list)
        [found] = found
    assert isinstance(found, list)
