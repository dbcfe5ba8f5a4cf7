"""Ids sort by age."""

from app.ids import ID, new_id


def test_ids_made_one_after_another_sort_by_age() -> None:
    made = [new_id("key") for _ in range(1000)]
    assert made == sorted(made)
    assert len(set(made)) == 1000


def test_an_id_says_what_it_names() -> None:
    made = new_id("job")
    assert made.startswith("job_")
    assert ID.fullmatch(made)
