"""Requests made from the OpenAPI document: every path with every verb, bodies that name an id."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.api.openapi import document

Schema = Mapping[str, Any]

DOCUMENT: Schema = json.loads(document())
VERBS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
# Stands where the id goes that a request is about.
ID = "<id>"
# What an id has to come with to be looked at, in the object that holds it.
COMPANIONS: Mapping[str, Mapping[str, Any]] = {
    "teacher_model_id": {"recipe": {"steps": [{"technique": "fine_tuning", "distill": True}]}},
    "teacher_model_ids": {"distill": True},
    "student_model_id": {
        "student": "model",
        "recipe": {"steps": [{"technique": "distillation", "student": "model"}]},
    },
    "source_model_id": {"scheme": "pretrained"},
}


@dataclass(frozen=True)
class Operation:
    """One verb at one path, as the document has it."""

    method: str
    path: str
    operation: Schema

    @property
    def scope(self) -> str | None:
        """The one it says it needs; null = it is open to all."""
        [[scope]] = [*security.values()] if (security := self._security) else [[None]]
        return scope

    @property
    def parameters(self) -> dict[str, str]:
        """Where each parameter goes, by its name."""
        return {p["name"]: p["in"] for p in self.operation.get("parameters", ())}

    @property
    def body(self) -> Schema | None:
        """The schema of its JSON body."""
        content = self.operation.get("requestBody", {}).get("content", {})
        return content.get("application/json", {}).get("schema")

    @property
    def _security(self) -> dict[str, list[str]]:
        [needed] = self.operation.get("security", [{}])
        return dict(needed)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


OPERATIONS = [
    Operation(method.upper(), path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]


def is_id(name: str) -> bool:
    return name.endswith(("_id", "_ids"))


def bodies_with_an_id(schema: Schema, own: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    """The smallest bodies that name something by its id, with `ID` in its place.

    Args:
        own: what goes into other fields that a body cannot do without, by their names.

    Yields: the name of the field that holds `ID`, and the body.
    """
    schema = _resolved(schema)
    for option in schema.get("oneOf", schema.get("anyOf", ())):
        yield from bodies_with_an_id(option, own)
    if "items" in schema:
        for name, item in bodies_with_an_id(schema["items"], own):
            yield name, [item]
    fields: Schema = schema.get("properties", {})
    for field, its_schema in fields.items():
        if is_id(field):
            known = {k: v for k, v in COMPANIONS.get(field, {}).items() if k in fields}
            value = [ID] if field.endswith("s") else ID
            yield field, {**smallest(schema, own), **known, field: value}
        else:
            for name, value in bodies_with_an_id(its_schema, own):
                yield name, {**smallest(schema, own), field: value}


def smallest(schema: Schema, own: Mapping[str, str]) -> Any:
    """A value that the schema takes."""
    schema = _resolved(schema)
    if "const" in schema or "enum" in schema:
        return schema.get("const") or schema["enum"][0]
    for union in ("oneOf", "anyOf"):
        if union in schema:
            return smallest(schema[union][0], own)
    kind = schema.get("type")
    if kind == "object":
        fields = schema.get("properties", {})
        return {
            name: own[name] if name in own else smallest(fields[name], own)
            # A tag has one value, and so a default, and is needed all the same.
            for name in fields
            if name in schema.get("required", ()) or "const" in fields[name]
        }
    if kind == "array":
        return [smallest(schema["items"], own)] * schema.get("minItems", 0)
    if kind in ("number", "integer"):
        low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
        high = schema.get("maximum", schema.get("exclusiveMaximum", low + 2))
        return low + 1 if kind == "integer" else (low + high) / 2
    return {"string": "x", "boolean": False}[str(kind)]


def _resolved(schema: Schema) -> Schema:
    if "$ref" not in schema:
        return schema
    found: Schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found
