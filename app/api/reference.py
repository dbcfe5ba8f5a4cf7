"""`/docs`: the OpenAPI document as a page for a person.

Without scripts and without anything from elsewhere, so that it is readable offline and under the
strictest Content-Security-Policy.
"""

from collections.abc import Iterable, Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

PATH = "/docs"
STYLE = Path(__file__).parent / "pages" / "reference.css"

router = APIRouter(prefix=PATH, include_in_schema=False)

Schema = Mapping[str, Any]


@router.get("")
def show_reference(request: Request) -> HTMLResponse:
    """Every path and every field, to read."""
    return HTMLResponse(page(request.app.openapi()))


@router.get("/reference.css")
def get_style() -> Response:
    """How the reference looks."""
    return Response(STYLE.read_bytes(), media_type="text/css")


def page(document: Schema) -> str:
    info = document["info"]
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(info['title'])} API</title>",
            f'<link rel="stylesheet" href="{PATH}/reference.css"></head><body>',
            f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>",
            f"<p>{escape(info['description'])}</p>",
            '<p>For programs: <a href="/openapi.json">openapi.json</a>.</p>',
            '<p>How the service is now: <a href="/">dashboard</a>.</p>',
            *_operations(document["paths"]),
            "<h2>Objects</h2>",
            *(
                _object(name, schema)
                for name, schema in sorted(document["components"]["schemas"].items())
            ),
            "</body></html>",
        ]
    )


def _operations(paths: Schema) -> Iterator[str]:
    heading = None
    for path, methods in paths.items():
        for method, operation in methods.items():
            [tag] = operation["tags"]
            if tag != heading:
                yield f"<h2>{escape(tag.capitalize())}</h2>"
                heading = tag
            yield _operation(method, path, operation)


def _operation(method: str, path: str, operation: Schema) -> str:
    takes = [
        (parameter["name"], parameter["in"], parameter["schema"], parameter.get("description", ""))
        for parameter in operation.get("parameters", ())
    ]
    takes += [
        ("the body", kind, content["schema"], "")
        for kind, content in operation.get("requestBody", {}).get("content", {}).items()
    ]
    gives = [
        (status, kind, content["schema"], response["description"])
        for status, response in operation["responses"].items()
        for kind, content in response.get("content", {"": {"schema": {}}}).items()
    ]
    return (
        f"<details><summary><b>{method.upper()}</b> <code>{escape(path)}</code> "
        f"{escape(operation['description'])}</summary>"
        f"{_table('takes', takes)}{_table('answers', gives)}</details>"
    )


def _object(name: str, schema: Schema) -> str:
    required = schema.get("required", ())
    rows = [
        (field, "" if field in required else "optional", kind, kind.get("description", ""))
        for field, kind in schema.get("properties", {}).items()
    ]
    about = "" if rows else f"<p>{_kind(schema)}</p>"
    return (
        f'<h3 id="{escape(name)}">{escape(name)}</h3>'
        f"<p>{escape(schema.get('description', ''))}</p>{about}{_table('', rows)}"
    )


def _table(title: str, rows: Iterable[tuple[str, str, Schema, str]]) -> str:
    cells = [
        f"<tr><td><code>{escape(name)}</code><td><small>{escape(where)}</small>"
        f"<td>{_kind(schema)}<td>{escape(about)}"
        for name, where, schema, about in rows
    ]
    head = f"<tr><th>{title}<th><th><th>" if title else ""
    return f"<table>{head}{''.join(cells)}</table>" if cells else ""


def _kind(schema: Schema) -> str:
    """In words, with a link to every object that is named."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rsplit("/", 1)[1])
        return f'<a href="#{name}">{name}</a>'
    for word in ("anyOf", "oneOf", "allOf"):
        if word in schema:
            return " or ".join(_kind(one) for one in schema[word])
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return " or ".join(f"<code>{escape(str(value))}</code>" for value in values)
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {})) or 'anything'}"
    return escape(f"{schema.get('type', '')} {_bounds(schema)}".strip())


def _bounds(schema: Schema) -> str:
    signs = {
        "minimum": "≥ {}",
        "exclusiveMinimum": "> {}",
        "maximum": "≤ {}",
        "exclusiveMaximum": "< {}",
        "maxLength": "up to {} characters",
        "default": "(default {})",
    }
    return ", ".join(
        sign.format(schema[name]) for name, sign in signs.items() if schema.get(name) is not None
    )
