"""Ids sort by age."""

import re

from app.ids import new_id


def test_ids_made_one_after_another_sort_by_age() -> None:
    made = [new_id("key") for _ in range(1000)]
    assert made == sorted(made)
    assert len(set(made)) == 1000


def test_an_id_says_what_it_names() -> None:
    assert re.fullmatch(r"job_[0-9a-f]{26}", new_id("job"))
