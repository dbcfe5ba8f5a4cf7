"""The OpenAPI document: the snapshot is true, and whole."""

import json
import re
from pathlib import Path

from app.api.openapi import document
from app.recipes.steps import step_types

SNAPSHOT = Path(__file__).parents[3] / "docs" / "openapi.json"


def test_snapshot_is_what_the_application_says() -> None:
    assert SNAPSHOT.read_text() == document(), "run `make openapi` and look at the difference"


def test_every_reference_leads_somewhere() -> None:
    text = document()
    schemas = json.loads(text)["components"]["schemas"]
    assert set(re.findall(r'"#/components/schemas/([^"]+)"', text)) <= set(schemas)


def test_steps_are_one_of_every_technique_by_its_tag() -> None:
    schemas = json.loads(document())["components"]["schemas"]
    steps = schemas["Recipe"]["properties"]["steps"]["items"]
    assert set(steps["discriminator"]["mapping"]) == set(step_types())
    assert len(steps["oneOf"]) == len(step_types())
    # One that names no technique is refused.
    by_name = (schemas[one["$ref"].rpartition("/")[2]] for one in steps["oneOf"])
    assert all(step["required"][0] == "technique" for step in by_name)


def test_every_operation_has_a_name_of_its_own_and_a_line_about_it() -> None:
    paths = json.loads(document())["paths"]
    operations = [operation for path in paths.values() for operation in path.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    assert all(operation["description"].endswith(".") for operation in operations)
