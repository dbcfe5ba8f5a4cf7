"""What pydantic found wrong with a request, in words, each with a JSON pointer (RFC 6901)."""

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel

from app.errors import Complaint, Invalid, Malformed, PenjingError, UnsupportedFormat
from app.recipes.steps import step_types

MOST_COMPLAINTS = 50
# Of what pydantic found, so many are put into words; the others are counted.
MOST_FINDINGS = 200
LONGEST_QUOTE = 80

Location = Sequence[str | int]
Finding = Mapping[str, Any]  # One item of `ValidationError.errors()`.


def complaints_of(error: RequestValidationError, request: Request) -> PenjingError:
    """The error to answer with: unreadable, of the wrong kind, or readable and wrong."""
    findings: Sequence[Finding] = error.errors()
    for finding in findings:
        if finding["type"] == "json_invalid":
            return Malformed(
                f"the body is not JSON: {finding['ctx']['error']} at character {finding['loc'][1]}"
            )
        if tuple(finding["loc"]) == ("body",) and isinstance(error.body, bytes):
            given = request.headers.get("content-type", "nothing")
            return UnsupportedFormat(
                f"the body must be application/json; its Content-Type is {given!r}",
                hint="Send the header Content-Type: application/json.",
            )
    model = _body_model(request)
    told = findings[:MOST_FINDINGS]
    found = without_followers([_complaint(finding, model) for finding in told])
    return invalid(found, untold=len(findings) - len(told))


def invalid(found: Sequence[Complaint], untold: int = 0) -> Invalid:
    """One error for all complaints; its detail is the first of them. `untold`: more of them."""
    first, others = found[0], len(found) - 1 + untold
    more = f" (and {others} more)" if others else ""
    return Invalid(
        f"{first.pointer or 'the body'}: {first.detail}{more}", errors=found[:MOST_COMPLAINTS]
    )


def without_followers(found: Iterable[Complaint]) -> list[Complaint]:
    """Without the complaints that only follow from one further inside."""
    kept = list(found)
    above = {place for complaint in kept for place in _places_above(complaint.pointer)}
    return [complaint for complaint in kept if complaint.pointer not in above]


def _places_above(pointer: str) -> Iterator[str]:
    """Every pointer that leads to something around what this one leads to."""
    while pointer:
        pointer = pointer.rpartition("/")[0]
        yield pointer


def pointer_to(location: Location) -> str:
    """A pydantic location as a JSON pointer: without `body`, union tags and key marks."""
    parts = location[1:] if location[:1] == ("body",) else location
    named = [
        str(part)
        for index, part in enumerate(parts)
        if part != "[key]" and not _is_tag(parts, index)
    ]
    return "".join(f"/{part.replace('~', '~0').replace('/', '~1')}" for part in named)


def unknown_name(given: str, allowed: Iterable[str], kind: str) -> str:
    """Says that `given` is unknown, what may have been meant, and what is allowed."""
    names = sorted(allowed)
    close = difflib.get_close_matches(given, names, n=1)
    guess = f"did you mean {close[0]!r}? " if close else ""
    return f"unknown {kind} {_quoted(given)}; {guess}Allowed: {', '.join(names) or 'none'}"


def _complaint(finding: Finding, body_model: type[BaseModel] | None) -> Complaint:
    location: Location = finding["loc"]
    if finding["type"] == "union_tag_not_found":
        return Complaint(
            pointer=f"{pointer_to(location)}/technique",
            detail=f"missing. Allowed: {', '.join(sorted(step_types()))}",
        )
    if finding["type"] == "union_tag_invalid":
        return Complaint(
            pointer=f"{pointer_to(location)}/technique",
            detail=unknown_name(finding["ctx"]["tag"], step_types(), "technique"),
        )
    if finding["type"] == "extra_forbidden":
        fields = _fields_at(body_model, location[1:-1])
        return Complaint(
            pointer=pointer_to(location), detail=unknown_name(str(location[-1]), fields, "field")
        )
    return Complaint(pointer=pointer_to(location), detail=_in_words(finding))


def _in_words(finding: Finding) -> str:
    message = str(finding["msg"]).removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    given = finding.get("input")
    if finding["type"] == "value_error" or not isinstance(given, str | int | float | None):
        return message
    return message if finding["type"] == "missing" else f"{message}; given {_quoted(given)}"


def _quoted(given: str | float | None) -> str:
    begun = given[: LONGEST_QUOTE + 1] if isinstance(given, str) else given
    text = json.dumps(begun, ensure_ascii=False)
    return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}..."


def _is_tag(parts: Location, index: int) -> bool:
    """Whether this part only says which technique a step was read as."""
    return index > 0 and isinstance(parts[index - 1], int) and parts[index] in step_types()


def _body_model(request: Request) -> type[BaseModel] | None:
    field = getattr(request.scope.get("route"), "body_field", None)
    return _model_in(field.field_info.annotation) if field else None


def _fields_at(root: type[BaseModel] | None, location: Location) -> Iterable[str]:
    """Names of the fields that an object at this place may have."""
    model = root
    for part in location:
        if model is None or isinstance(part, int):
            continue
        if part in step_types():
            model = step_types()[part]
        else:
            model = _model_in(model.model_fields[part].annotation)
    return model.model_fields if model else ()


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The first pydantic model inside an annotation such as `tuple[A, ...]` or `A | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    models = (_model_in(part) for part in get_args(annotation))
    return next((model for model in models if model), None)
